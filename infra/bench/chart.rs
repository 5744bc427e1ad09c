//! Charts for a results page: bars on a logarithmic scale, as plain SVG that can be read on light and dark pages.

use std::fmt::Write;

const FONT: &str = "font-family=\"system-ui, sans-serif\" font-size=\"13\"";
const COLOURS: [&str; 2] = ["#2f6fde", "#d9822b"];

/// Horizontal bars, one for each label, on a logarithmic scale.
#[must_use]
pub fn bars(title: &str, unit: &str, rows: &[(String, f64)]) -> String {
    let known = rows.iter().map(|(_, value)| *value).filter(|value| *value > 0.0);
    let (least, most) = known.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    let (floor, top) = (least.log10().floor(), most.log10());
    let width =
        |value: f64| if value > 0.0 { 20.0 + 400.0 * (value.log10() - floor) / (top - floor).max(0.1) } else { 0.0 };
    let height = 48 + 26 * rows.len();
    let mut svg = head(720, height, title);
    for (place, (label, value)) in rows.iter().enumerate() {
        let y = 36 + 26 * place;
        let colour = COLOURS[if place == 0 { 0 } else { 1 }];
        let _ = writeln!(
            svg,
            "<text x=\"150\" y=\"{}\" text-anchor=\"end\" fill=\"#808080\" {FONT}>{label}</text>",
            y + 14
        );
        let long = width(*value);
        let _ = writeln!(svg, "<rect x=\"160\" y=\"{y}\" width=\"{long:.0}\" height=\"18\" fill=\"{colour}\"/>");
        let text = 168.0 + long;
        let _ = writeln!(
            svg,
            "<text x=\"{text:.0}\" y=\"{}\" fill=\"#808080\" {FONT}>{} {unit}</text>",
            y + 14,
            number(*value)
        );
    }
    svg + "</svg>\n"
}

fn head(width: usize, height: usize, title: &str) -> String {
    let size = format!("width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\"");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {size} role=\"img\" aria-label=\"{title}\">\n\
         <text x=\"12\" y=\"22\" fill=\"#808080\" font-weight=\"600\" {FONT}>{title}</text>\n"
    )
}

/// A number with three significant digits.
#[must_use]
pub fn number(value: f64) -> String {
    if value.is_nan() {
        "—".to_owned()
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
