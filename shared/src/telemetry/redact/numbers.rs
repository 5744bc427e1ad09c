//! Numbers that belong to a person: phones, cards, resident registration numbers, in whatever groups they are written.
//!
//! Company numbers, amounts, versions and times are numbers too; what tells them apart is length, first digits, check
//! digits and grouping, all of it stated here.

/// Some digits without anything between them.
#[derive(Clone, Copy)]
struct Run {
    /// Where it is, in bytes.
    start: usize,
    end: usize,
    /// Which of the digits are its own.
    first: usize,
    past: usize,
    /// Whether only separators stand between it and the run before.
    joined: bool,
}

/// The longest number that belongs to a person.
const MOST_DIGITS: usize = 19;

/// `text` with every personal number masked; `None` when there is none.
pub(super) fn masked(text: &str) -> Option<String> {
    masked_as(text, |number| number.kind())
}

/// `text` with every card number masked, and nothing else; `None` when there is none.
pub(super) fn without_cards(text: &str) -> Option<String> {
    masked_as(text, |number| {
        let is_card = !number.is_fraction() && !number.is_part_of_a_uuid() && number.is_card();
        is_card.then_some("[card]")
    })
}

fn masked_as(text: &str, kind: fn(&Number<'_>) -> Option<&'static str>) -> Option<String> {
    let (digits, runs) = runs(text);
    if digits.len() < 8 {
        return None;
    }
    let (mut shown, mut copied, mut place) = (String::new(), 0, 0);
    while place < runs.len() {
        let found = ends(&runs, place).rev().find_map(|last| {
            let number =
                Number { text, runs: &runs[place..=last], digits: &digits[runs[place].first..runs[last].past] };
            Some((last, number.begins(), kind(&number)?))
        });
        let Some((last, begins, mask)) = found else {
            place += 1;
            continue;
        };
        shown.push_str(&text[copied..begins.max(copied)]);
        shown.push_str(mask);
        (copied, place) = (runs[last].end, last + 1);
    }
    if copied == 0 {
        return None;
    }
    shown.push_str(&text[copied..]);
    Some(shown)
}

/// The places where a number that begins with run `first` may end.
fn ends(runs: &[Run], first: usize) -> std::ops::Range<usize> {
    let fits = |run: &&Run| run.past - runs[first].first <= MOST_DIGITS;
    let more = runs[first + 1..].iter().take_while(|run| run.joined).take_while(fits).count();
    first..first + 1 + more
}

fn runs(text: &str) -> (Vec<u8>, Vec<Run>) {
    let (mut digits, mut runs) = (Vec::new(), Vec::<Run>::new());
    let (mut in_run, mut gap) = (false, usize::MAX);
    for (place, c) in text.char_indices() {
        let Some(digit) = digit(c) else {
            gap = if in_run { 1 } else { gap.saturating_add(1) };
            in_run = false;
            if !is_separator(c) {
                gap = usize::MAX;
            }
            continue;
        };
        let past = digits.len() + 1;
        match runs.last_mut() {
            Some(run) if in_run => (run.end, run.past) = (place + c.len_utf8(), past),
            _ => runs.push(Run { start: place, end: place + c.len_utf8(), first: past - 1, past, joined: gap <= 3 }),
        }
        digits.push(digit);
        in_run = true;
    }
    (digits, runs)
}

/// ASCII and full-width digits.
fn digit(c: char) -> Option<u8> {
    let zero = if c.is_ascii() { u32::from(b'0') } else { 0xFF10 };
    u8::try_from(u32::from(c).checked_sub(zero)?).ok().filter(|digit| *digit < 10)
}

/// What people put between the groups of a number; a form writes `+` for a space.
fn is_separator(c: char) -> bool {
    matches!(
        c,
        ' ' | '-' | '.' | '_' | '+' | '(' | ')' | '\u{a0}' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '－'
    )
}

/// A candidate: neighbouring runs, read as one number.
struct Number<'a> {
    text: &'a str,
    runs: &'a [Run],
    digits: &'a [u8],
}

impl Number<'_> {
    /// What stands for it, if it belongs to a person.
    fn kind(&self) -> Option<&'static str> {
        if self.is_fraction() || self.is_part_of_a_uuid() {
            None
        } else if self.is_phone() {
            Some("[phone]")
        } else if self.is_resident_number() {
            Some("[resident number]")
        } else if self.is_card() {
            Some("[card]")
        } else {
            None
        }
    }

    fn sizes(&self) -> Vec<usize> {
        self.runs.iter().map(|run| run.end - run.start).collect()
    }

    fn before(&self) -> &str {
        &self.text[..self.runs[0].start]
    }

    /// With its sign, and what opens a bracket that closes within.
    fn begins(&self) -> usize {
        let last = self.runs[self.runs.len() - 1].end;
        let brackets = self.text[self.runs[0].start..last].contains(')');
        let before = self.before();
        let before = if brackets { before.trim_end_matches('(') } else { before };
        before.strip_suffix(['+', '＋']).unwrap_or(before).trim_end_matches(|c| brackets && c == '(').len()
    }

    /// Whether it is an international number: a `+` that is not a form's space.
    fn has_plus(&self) -> bool {
        let sign = self.before().trim_end_matches('(').strip_suffix(['+', '＋']);
        sign.is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
    }

    /// The digits after the point of a decimal number.
    fn is_fraction(&self) -> bool {
        let whole = self.before().strip_suffix('.');
        self.runs.len() == 1 && whole.is_some_and(|whole| whole.ends_with(|c: char| c.is_ascii_digit()))
    }

    /// Some UUIDs hold the digits of a number by chance.
    fn is_part_of_a_uuid(&self) -> bool {
        let outside = |c: char| !c.is_ascii_hexdigit() && c != '-';
        let start = self.before().trim_end_matches(|c| !outside(c)).len();
        let end = self.text[self.runs[0].start..].find(outside).map_or(self.text.len(), |end| self.runs[0].start + end);
        self.text.get(start..end).is_some_and(super::names::is_uuid)
    }

    /// Whether letters touch it. Part of a word is a person's number only when its form is unmistakable.
    fn is_part_of_a_word(&self) -> bool {
        let letter = |c: char| c.is_ascii_alphabetic();
        let last = self.runs[self.runs.len() - 1].end;
        self.before().ends_with(letter) || self.text[last..].starts_with(letter)
    }

    fn is_phone(&self) -> bool {
        let (sizes, count) = (self.sizes(), self.digits.len());
        let one_group = sizes.len() == 1;
        let mobile = |digits: &[u8]| matches!(digits, [1, 0 | 1 | 6..=9, ..]) && (9..=10).contains(&digits.len());
        let korean_mobile = match self.digits {
            // Without groups, 82 is a country only before the code that all mobile phones have today.
            [8, 2, 1, other, ..] if one_group && *other != 0 => false,
            [0, 0, 8, 2, rest @ ..] | [8, 2, 0, rest @ ..] | [8, 2, rest @ ..] | [0, rest @ ..] => mobile(rest),
            _ => false,
        };
        if korean_mobile {
            return true;
        }
        if self.is_part_of_a_word() {
            return false;
        }
        let last_of_four = sizes.last() == Some(&4);
        match self.digits {
            [1..=9, ..] if self.has_plus() => (8..=15).contains(&count),
            // From Korea with the code of a carrier, or as most of the world dials.
            [0, 0, ..] => !one_group && (11..=18).contains(&count),
            [0, 2..=8, ..] if one_group => (9..=11).contains(&count),
            [0, 2..=8, ..] => (9..=12).contains(&count) && last_of_four && (2..=4).contains(&sizes[0]),
            [8, 2, 2..=8, ..] if sizes[0] == 2 => (10..=12).contains(&count) && last_of_four,
            [2..=9, _, _, 2..=9, ..] => sizes == [3, 3, 4],
            [1, 2..=9, _, _, 2..=9, ..] => sizes == [1, 3, 3, 4],
            _ => false,
        }
    }

    /// 주민등록번호 and 외국인등록번호: a date, then a digit 1 to 8 for century and sex. The check digit is not asked:
    /// numbers given out since October 2020 have none.
    fn is_resident_number(&self) -> bool {
        let [_, _, m1, m2, d1, d2, century, ..] = self.digits else { return false };
        let (month, day) = (m1 * 10 + m2, d1 * 10 + d2);
        let plausible = (1..=12).contains(&month) && (1..=31).contains(&day) && (1..=8).contains(century);
        let sizes = self.sizes();
        let grouped = matches!(sizes.as_slice(), [13] | [6, 7] | [6, 1, 6] | [2, 2, 2, 7]) || one_by_one(&sizes);
        self.digits.len() == 13 && plausible && grouped
    }

    fn is_card(&self) -> bool {
        let sizes = self.sizes();
        let even = |sizes: &[usize]| match sizes {
            [first, middle @ .., last] => {
                (3..=5).contains(first) && middle.iter().all(|size| size == first) && last <= first
            }
            _ => true,
        };
        let grouped =
            even(&sizes) || one_by_one(&sizes) || matches!(sizes.as_slice(), [4, 6, 4 | 5] | [4, 4, 5] | [6, 10 | 13]);
        let gap = |pair: &[Run]| &self.text[pair[0].end..pair[1].start];
        let mut gaps = self.runs.windows(2).map(gap);
        let first_gap = gaps.next();
        let same_gaps = gaps.all(|gap| Some(gap) == first_gap);
        // Cards of 13 digits begin with 4; corporate numbers and milliseconds have as many and do not.
        let long_enough = (14..=19).contains(&self.digits.len()) || self.digits.len() == 13 && self.digits[0] == 4;
        long_enough && grouped && same_gaps && !self.is_date() && luhn(self.digits)
    }

    /// Year, month, day, hour, minute, second, perhaps milliseconds: the usual form of a time in Korean interfaces.
    fn is_date(&self) -> bool {
        let two = |place: usize| self.digits[place] * 10 + self.digits[place + 1];
        self.runs.len() == 1
            && matches!(self.digits.len(), 14 | 17)
            && matches!(two(0), 19 | 20)
            && (1..=12).contains(&two(4))
            && (1..=31).contains(&two(6))
            && two(8) < 24
            && two(10) < 60
            && two(12) < 60
    }
}

fn one_by_one(sizes: &[usize]) -> bool {
    sizes.iter().all(|size| *size == 1)
}

fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let weigh = |(place, digit): (usize, &u8)| u32::from(if place % 2 == 1 { doubled(*digit) } else { *digit });
    digits.iter().rev().enumerate().map(weigh).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_people_are_masked_in_any_groups() {
        for (given, shown) in [
            ("call 010-1234-5678 now", "call [phone] now"),
            ("call 010 1234 5678 now", "call [phone] now"),
            ("status 503 010-1234-5678", "status 503 [phone]"),
            ("01012345678님에게", "[phone]님에게"),
            ("tel01012345678", "tel[phone]"),
            ("０１０－１２３４－５６７８", "[phone]"),
            ("(010) 1234-5678", "[phone]"),
            ("홍길동(900101-1234567)", "홍길동([resident number])"),
            ("(02) 123-4567", "[phone]"),
            ("0212345678", "[phone]"),
            ("031.123.4567", "[phone]"),
            ("070-1234-5678", "[phone]"),
            ("+82-10-1234-5678", "[phone]"),
            ("+82 (0)10-1234-5678", "[phone]"),
            ("0082-10-1234-5678", "[phone]"),
            ("821012345678", "[phone]"),
            ("+1 (415) 555-2671", "[phone]"),
            ("415-555-2671", "[phone]"),
            ("828-477-8523", "[phone]"),
            ("+44 20 7946 0958", "[phone]"),
            ("900101-1234567", "[resident number]"),
            ("9001011234567", "[resident number]"),
            ("900101 - 1234567", "[resident number]"),
            ("card 4111 1111 1111 1111!", "card [card]!"),
            ("4111-1111-1111-1111", "[card]"),
            ("4111+1111+1111+1111", "[card]"),
            ("12 4111 1111 1111 1111", "12 [card]"),
            ("3782 822463 10005", "[card]"),
            ("378282246310005", "[card]"),
            ("order_4111111111111111", "order_[card]"),
        ] {
            assert_eq!(masked(given).as_deref(), Some(shown), "{given}");
        }
    }

    #[test]
    fn other_numbers_stay() {
        for given in [
            "1234567891",
            "123-45-67891",
            "123 45 67891",
            "1101110062432",
            "2026-11-21T03:50:00.123Z",
            "2026-11-21 03:50:00.123456",
            "20261121035000",
            "20261121035000123",
            "1795233000123",
            "1795233000",
            "0.1234567890123456",
            "took 12.345678 s after 3 of 4 attempts, 1500 ms",
            "192.168.100.200:4600",
            "4,500,000",
            "v1.0.12345678",
            "order 20261121-000123",
            "arn:aws:sqs:ap-northeast-2:123456789012:email",
        ] {
            assert_eq!(masked(given), None, "{given}");
        }
    }
}
