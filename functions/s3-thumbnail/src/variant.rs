//! What a thumbnail shall be like, as a person writes it: `card=300x200,cover,webp,q80`.
//!
//! A list of them is separated by semicolons. The words after the size may come in any order and may be left out:
//!
//! | word | default | meaning |
//! |---|---|---|
//! | `cover`, `contain`, `inside` | `cover` | fill the box and cut; fit into it and pad; fit into it |
//! | `webp`, `jpeg`, `png` | `webp` | the format |
//! | `q1` … `q100` | `q80` | the quality; not for `png` |
//! | `focus@X@Y` | `focus@50@50` | the point that a cut keeps nearest to the middle, in percent |
//! | `background@RRGGBB` | none, or white in `jpeg` | what lies behind transparent pixels and beside a padded picture |
//! | `enlarge` | | a picture smaller than the box is enlarged; without it, it is left as small as it is |

use std::fmt;

/// How a picture goes into the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The box is filled; what sticks out is cut off.
    Cover,
    /// The whole picture is in the box; the rest of the box is padding.
    Contain,
    /// The whole picture fits into the box; there is no padding.
    Inside,
}

/// What a thumbnail is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Lossy WebP, with transparency.
    Webp,
    /// Baseline JPEG, 4:2:0, without transparency.
    Jpeg,
    /// PNG, with transparency.
    Png,
}

impl Output {
    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Webp => "image/webp",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }

    /// The end of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Webp => "webp",
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }
}

/// A point in a picture, as fractions of its width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Focus {
    /// From left, 0 to 1.
    pub x: f64,
    /// From top, 0 to 1.
    pub y: f64,
}

impl Focus {
    /// The middle.
    pub const CENTRE: Self = Self { x: 0.5, y: 0.5 };

    /// Reads two numbers of percent, separated by `separator`.
    pub fn parse(text: &str, separator: char) -> Option<Self> {
        let percent = |text: &str| {
            let number: f64 = text.trim().parse().ok()?;
            (0.0..=100.0).contains(&number).then_some(number / 100.0)
        };
        let (x, y) = text.split_once(separator)?;
        Some(Self { x: percent(x)?, y: percent(y)? })
    }
}

/// One thumbnail that is wanted of each picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Its name, part of the object's key.
    pub name: String,
    /// The box, in pixels.
    pub width: u32,
    /// The box, in pixels.
    pub height: u32,
    /// How the picture goes into the box.
    pub fit: Fit,
    /// What it is written as.
    pub output: Output,
    /// 1 to 100.
    pub quality: u8,
    /// What a cut keeps, unless the picture says so itself.
    pub focus: Focus,
    /// Red, green and blue behind and beside the picture.
    pub background: Option<[u8; 3]>,
    /// Whether small pictures grow.
    pub enlarge: bool,
}

/// The longest side of a box. WebP ends at 16,383.
const MAX_SIDE: u32 = 4_096;

/// The form that [`Variant::parse_list`] reads, for whoever made a mistake.
pub const FORM: &str = "variants such as `card=300x200,cover,webp,q80`, separated by `;`";

impl Variant {
    /// Reads a list; `None` when any of it is not understood or a name comes twice.
    pub fn parse_list(text: &str) -> Option<Vec<Self>> {
        let mut variants: Vec<Self> = Vec::new();
        for part in text.split(';') {
            let variant = Self::parse(part.trim())?;
            if variants.iter().any(|other| other.name == variant.name) {
                return None;
            }
            variants.push(variant);
        }
        Some(variants)
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('=')?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
            return None;
        }
        let mut words = rest.split(',').map(str::trim);
        let (width, height) = words.next()?.split_once('x')?;
        let side = |text: &str| text.parse().ok().filter(|side| (1..=MAX_SIDE).contains(side));
        let mut variant = Self {
            name: name.to_owned(),
            width: side(width)?,
            height: side(height)?,
            fit: Fit::Cover,
            output: Output::Webp,
            quality: 80,
            focus: Focus::CENTRE,
            background: None,
            enlarge: false,
        };
        for word in words {
            match word {
                "cover" => variant.fit = Fit::Cover,
                "contain" => variant.fit = Fit::Contain,
                "inside" => variant.fit = Fit::Inside,
                "webp" => variant.output = Output::Webp,
                "jpeg" => variant.output = Output::Jpeg,
                "png" => variant.output = Output::Png,
                "enlarge" => variant.enlarge = true,
                _ => variant.with_value(word)?,
            }
        }
        Some(variant)
    }

    fn with_value(&mut self, word: &str) -> Option<()> {
        if let Some(focus) = word.strip_prefix("focus@") {
            self.focus = Focus::parse(focus, '@')?;
        } else if let Some(colour) = word.strip_prefix("background@") {
            let hexadecimal = colour.len() == 6 && colour.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = u32::from_str_radix(colour, 16).ok().filter(|_| hexadecimal)?;
            let [_, red, green, blue] = number.to_be_bytes();
            self.background = Some([red, green, blue]);
        } else {
            let quality = word.strip_prefix('q')?.parse().ok()?;
            self.quality = (1..=100).contains(&quality).then_some(quality)?;
        }
        Some(())
    }
}

/// The whole wish in one form: two variants that read the same give the same thumbnail.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, width, height, fit, output, quality, focus, background, enlarge } = self;
        let fit = match fit {
            Fit::Cover => "cover",
            Fit::Contain => "contain",
            Fit::Inside => "inside",
        };
        let output = match output {
            Output::Webp => "webp",
            Output::Jpeg => "jpeg",
            Output::Png => "png",
        };
        let (x, y) = (focus.x * 100.0, focus.y * 100.0);
        write!(f, "{name}={width}x{height},{fit},{output},q{quality},focus@{x}@{y}")?;
        if let Some([red, green, blue]) = background {
            write!(f, ",background@{red:02x}{green:02x}{blue:02x}")?;
        }
        if *enlarge { f.write_str(",enlarge") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = "card=300x200; square=128x128,inside,q70,jpeg,background@ff8000,focus@20@80.5,enlarge";
        let variants = Variant::parse_list(text).expect("two variants");
        assert_eq!(variants[0].to_string(), "card=300x200,cover,webp,q80,focus@50@50");
        assert_eq!(variants[1].to_string(), "square=128x128,inside,jpeg,q70,focus@20@80.5,background@ff8000,enlarge");
        for variant in &variants {
            assert_eq!(Variant::parse_list(&variant.to_string()).expect("its own form"), std::slice::from_ref(variant));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "card",
            "card=300",
            "card=0x200",
            "card=300x4097",
            "card=300x200,q0",
            "card=300x200,q101",
            "card=300x200,avif",
            "Card=300x200",
            "a/b=300x200",
            "card=300x200;card=100x100",
            "card=300x200;",
            "card=300x200,focus@101@0",
            "card=300x200,focus@NaN@0",
            "card=300x200,background@fff",
            "card=300x200,background@+fffff",
        ] {
            assert_eq!(Variant::parse_list(text), None, "{text}");
        }
    }
}
