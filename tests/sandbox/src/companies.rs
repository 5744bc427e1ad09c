//! The made-up business register that all fakes agree on, so that NICE and the tax service tell one story about a number.
//!
//! Nothing is stored: a company follows from its number alone. A few numbers have fixed facts (`SPECIAL`), the first
//! three digits decide about the state of the others, and a finite list of 500 companies can be searched by name. All
//! names, addresses and figures are invented; telephone numbers lie in ranges that are not given out.

/// Numbers that begin so are known to nobody.
const UNKNOWN_PREFIXES: [&str; 2] = ["000", "999"];
const CLOSED_PREFIX: &str = "998";
const SUSPENDED_PREFIX: &str = "997";
/// How many made-up companies a search looks through, besides the special ones.
const LISTED: u32 = 500;

/// What the tax service says about a business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Active,
    Suspended,
    /// With the day it closed, `YYYYMMDD`.
    Closed(&'static str),
}

/// A business with all that any of the fakes tells about it; dates are `YYYYMMDD`, amounts thousand KRW.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Company {
    pub(crate) number: String,
    /// Sole traders have none.
    pub(crate) corporate_number: Option<String>,
    pub(crate) name: String,
    pub(crate) name_en: String,
    pub(crate) representative: String,
    pub(crate) established_on: String,
    pub(crate) street: String,
    pub(crate) building: String,
    pub(crate) zip: String,
    pub(crate) phone: String,
    pub(crate) fax: String,
    pub(crate) email: String,
    pub(crate) industry: &'static str,
    pub(crate) industry_code: &'static str,
    pub(crate) sector: &'static str,
    pub(crate) grade: &'static str,
    pub(crate) employees: u64,
    pub(crate) sales: i64,
    pub(crate) operating_income: i64,
    pub(crate) equity: i64,
    pub(crate) debt: i64,
    pub(crate) standing: Standing,
    /// The tax service's `tax_type_cd`, 01 to 07.
    pub(crate) tax_type: &'static str,
}

/// A number whose main facts a test may rely on by heart; the README holds the same table.
struct Special {
    number: &'static str,
    name: &'static str,
    name_en: &'static str,
    representative: &'static str,
    established_on: &'static str,
    corporate: bool,
    standing: Standing,
    tax_type: &'static str,
}

const SPECIAL: [Special; 8] = [
    Special {
        number: "1234567891",
        name: "(주)샘플강원",
        name_en: "Sample Gangwon Co., Ltd.",
        representative: "홍길동",
        established_on: "20180510",
        corporate: true,
        standing: Standing::Active,
        tax_type: "01",
    },
    Special {
        number: "1111111119",
        name: "샘플분식",
        name_en: "Sample Bunsik",
        representative: "김하나",
        established_on: "20210301",
        corporate: false,
        standing: Standing::Active,
        tax_type: "02",
    },
    Special {
        number: "2222222227",
        name: "(주)샘플휴업",
        name_en: "Sample Paused Co., Ltd.",
        representative: "이두리",
        established_on: "20150702",
        corporate: true,
        standing: Standing::Suspended,
        tax_type: "01",
    },
    Special {
        number: "3333333336",
        name: "(주)샘플폐업",
        name_en: "Sample Closed Co., Ltd.",
        representative: "박세찬",
        established_on: "20110915",
        corporate: true,
        standing: Standing::Closed("20240331"),
        tax_type: "01",
    },
    Special {
        number: "4440000006",
        name: "샘플서점",
        name_en: "Sample Books",
        representative: "최나래",
        established_on: "20160120",
        corporate: false,
        standing: Standing::Active,
        tax_type: "04",
    },
    Special {
        number: "5550000005",
        name: "샘플공방",
        name_en: "Sample Workshop",
        representative: "정다솜",
        established_on: "20191111",
        corporate: false,
        standing: Standing::Active,
        tax_type: "07",
    },
    Special {
        number: "6660000004",
        name: "샘플재단",
        name_en: "Sample Foundation",
        representative: "강여울",
        established_on: "20090605",
        corporate: true,
        standing: Standing::Active,
        tax_type: "05",
    },
    Special {
        number: "7770000003",
        name: "샘플동문회",
        name_en: "Sample Alumni",
        representative: "조일곱",
        established_on: "20130227",
        corporate: false,
        standing: Standing::Active,
        tax_type: "06",
    },
];

const WORDS: [(&str, &str); 12] = [
    ("샘플", "Sample"),
    ("한빛", "Hanbit"),
    ("가온", "Gaon"),
    ("누리", "Nuri"),
    ("다온", "Daon"),
    ("새롬", "Saerom"),
    ("늘봄", "Neulbom"),
    ("미르", "Mireu"),
    ("해솔", "Haesol"),
    ("두루", "Duru"),
    ("설악", "Seorak"),
    ("소양", "Soyang"),
];

/// A kind of business: how its name ends, in Korean and English, and how a register files it.
struct Trade {
    suffix: &'static str,
    suffix_en: &'static str,
    industry: &'static str,
    code: &'static str,
    sector: &'static str,
}

const TRADES: [Trade; 8] = [
    Trade {
        suffix: "소프트", suffix_en: "Soft", industry: "소프트웨어 개발", code: "J58222", sector: "정보통신업"
    },
    Trade {
        suffix: "전자", suffix_en: "Electronics", industry: "전자부품 제조", code: "C26299", sector: "제조업"
    },
    Trade { suffix: "식품", suffix_en: "Foods", industry: "식료품 제조", code: "C10799", sector: "제조업" },
    Trade { suffix: "바이오", suffix_en: "Bio", industry: "의약품 제조", code: "C21210", sector: "제조업" },
    Trade {
        suffix: "물산",
        suffix_en: "Trading",
        industry: "상품 종합 도매",
        code: "G46800",
        sector: "도매 및 소매업",
    },
    Trade {
        suffix: "건설", suffix_en: "Construction", industry: "건물 건설", code: "F41112", sector: "건설업"
    },
    Trade { suffix: "관광", suffix_en: "Travel", industry: "여행사", code: "N75210", sector: "서비스업" },
    Trade {
        suffix: "에너지", suffix_en: "Energy", industry: "태양력 발전", code: "D35114", sector: "전기업"
    },
];

/// A street with the beginning of its postal code and the telephone area code.
const STREETS: [(&str, &str, &str); 8] = [
    ("강원특별자치도 춘천시 중앙로", "242", "033"),
    ("강원특별자치도 원주시 시청로", "264", "033"),
    ("강원특별자치도 강릉시 강릉대로", "255", "033"),
    ("서울특별시 중구 세종대로", "045", "02"),
    ("부산광역시 해운대구 센텀중앙로", "480", "051"),
    ("대전광역시 유성구 대학로", "341", "042"),
    ("경기도 성남시 분당구 판교로", "135", "031"),
    ("제주특별자치도 제주시 첨단로", "632", "064"),
];

const SURNAMES: [&str; 12] = ["김", "이", "박", "최", "정", "강", "조", "윤", "장", "임", "한", "오"];
const GIVEN_NAMES: [&str; 12] =
    ["민준", "서연", "지훈", "수빈", "도윤", "하은", "현우", "예진", "성호", "미경", "영수", "은정"];
const GRADES: [&str; 9] = ["AA", "A", "BBB", "BBB", "BB", "BB", "B", "B", "CCC"];
const CLOSING_DAYS: [&str; 4] = ["20211231", "20220630", "20230915", "20250228"];
/// General taxpayers are the most common by far.
const TAX_TYPES: [&str; 10] = ["01", "01", "01", "01", "01", "01", "02", "02", "04", "07"];

/// Returns the business with this number; none when the check digit is wrong or the number is one nobody knows.
pub(crate) fn find(number: &str) -> Option<Company> {
    let unknown = UNKNOWN_PREFIXES.iter().any(|prefix| number.starts_with(prefix));
    if !has_valid_check_digit(number) || unknown {
        return None;
    }
    let mut company = made_up(number);
    if let Some(special) = SPECIAL.iter().find(|special| special.number == number) {
        special.apply(&mut company);
    }
    if number == "1234567891" {
        gangwon(&mut company);
    }
    Some(company)
}

/// Returns the listed companies whose name contains `text`: the special ones first, then the rest in a fixed order.
pub(crate) fn search(text: &str) -> Vec<Company> {
    let special = SPECIAL.iter().map(|special| special.number.to_owned());
    let listed = (0..LISTED).map(listed_number);
    special.chain(listed).filter_map(|number| find(&number)).filter(|company| company.name.contains(text)).collect()
}

/// Checks the tenth digit of a business registration number against the first nine.
pub(crate) fn has_valid_check_digit(number: &str) -> bool {
    match number.char_indices().nth(9) {
        Some((last, _)) if number.len() == 10 => {
            check_digit(&number[..last]).is_some_and(|digit| number.ends_with(digit))
        }
        Some(_) | None => false,
    }
}

fn check_digit(first_nine: &str) -> Option<char> {
    const WEIGHTS: [u32; 9] = [1, 3, 7, 1, 3, 7, 1, 3, 5];
    let digits: Vec<u32> = first_nine.chars().map(|c| c.to_digit(10)).collect::<Option<_>>()?;
    let ninth = digits.get(8)?;
    let products: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum();
    // The ninth digit counts twice: by its weight, and by the tens of five times itself.
    let sum = products + ninth * 5 / 10;
    char::from_digit((10 - sum % 10) % 10, 10)
}

/// Adds the check digit of a corporate registration number: weights 1 and 2 in turn, over twelve digits.
fn corporate_number(first_twelve: &str) -> String {
    let digits = first_twelve.chars().filter_map(|c| c.to_digit(10));
    let sum: u32 = digits.enumerate().map(|(place, digit)| if place % 2 == 0 { digit } else { digit * 2 }).sum();
    format!("{first_twelve}{}", (10 - sum % 10) % 10)
}

/// The number at a place of the searchable list. The first three digits never repeat, so neither does the number.
fn listed_number(place: u32) -> String {
    // Digits four and five say what kind of business it is; 81 to 88 are corporations.
    let kind = if place.is_multiple_of(3) { 1 + place % 79 } else { [81, 86, 87, 88][place as usize % 4] };
    let first_nine = format!("{:03}{kind:02}{:04}", 110 + place * 13 % 800, place * 7919 % 10_000);
    let last = check_digit(&first_nine).unwrap_or('0');
    format!("{first_nine}{last}")
}

/// Invents a company. New draws belong at the end: each draw moves all that follow it.
fn made_up(number: &str) -> Company {
    let mut dice = Dice::new(number);
    let corporate = matches!(&number[3..5], "81" | "82" | "83" | "84" | "85" | "86" | "87" | "88");
    let (word, word_en) = WORDS[dice.roll(WORDS.len())];
    let trade = &TRADES[dice.roll(TRADES.len())];
    let (street, zip, area) = STREETS[dice.roll(STREETS.len())];
    let local = 1000 + dice.roll(9000);
    let year = 1995 + dice.roll(29);
    let (month, day) = (1 + dice.roll(12), 1 + dice.roll(28));
    let employees = if corporate { 5 + dice.number(300) } else { 1 + dice.number(9) };
    let sales = as_amount(employees * (60_000 + dice.number(120_000)));
    let equity = sales / 3 + as_amount(dice.number(50_000));
    let standing = match &number[..3] {
        CLOSED_PREFIX => Standing::Closed(CLOSING_DAYS[dice.roll(CLOSING_DAYS.len())]),
        SUSPENDED_PREFIX => Standing::Suspended,
        _ => Standing::Active,
    };
    Company {
        number: number.to_owned(),
        corporate_number: corporate.then(|| corporate_number(&format!("110111{:06}", dice.roll(1_000_000)))),
        name: if corporate { format!("(주){word}{}", trade.suffix) } else { format!("{word}{}", trade.suffix) },
        name_en: format!("{word_en} {}{}", trade.suffix_en, if corporate { " Co., Ltd." } else { "" }),
        representative: format!("{}{}", SURNAMES[dice.roll(SURNAMES.len())], GIVEN_NAMES[dice.roll(GIVEN_NAMES.len())]),
        established_on: format!("{year}{month:02}{day:02}"),
        street: format!("{street} {}", 1 + dice.roll(300)),
        building: format!("{}층", 1 + dice.roll(12)),
        zip: format!("{zip}{:02}", dice.roll(100)),
        phone: format!("{area}-000-{local}"),
        fax: format!("{area}-001-{local}"),
        email: format!("contact@{}-{}.example", word_en.to_lowercase(), &number[6..]),
        industry: trade.industry,
        industry_code: trade.code,
        sector: trade.sector,
        grade: GRADES[dice.roll(GRADES.len())],
        employees,
        sales,
        // From a loss of 5 % to a profit of 14 % of the sales.
        operating_income: sales / 100 * (as_amount(dice.number(20)) - 5),
        equity,
        debt: equity / 100 * as_amount(30 + dice.number(200)),
        standing,
        tax_type: if corporate { "01" } else { TAX_TYPES[dice.roll(TAX_TYPES.len())] },
    }
}

impl Special {
    fn apply(&self, company: &mut Company) {
        company.name = self.name.to_owned();
        company.name_en = self.name_en.to_owned();
        company.representative = self.representative.to_owned();
        company.established_on = self.established_on.to_owned();
        company.standing = self.standing;
        company.tax_type = self.tax_type;
        company.corporate_number = self.corporate.then(|| corporate_number(&format!("110111{}", &self.number[..6])));
    }
}

/// The company most tests and examples ask for, with every figure fixed.
fn gangwon(company: &mut Company) {
    *company = Company {
        corporate_number: Some("1101110062432".to_owned()),
        street: "강원특별자치도 춘천시 중앙로 1".to_owned(),
        building: "3층".to_owned(),
        zip: "24266".to_owned(),
        phone: "033-000-1234".to_owned(),
        fax: "033-001-1234".to_owned(),
        email: "contact@sample-gangwon.example".to_owned(),
        industry: "소프트웨어 개발",
        industry_code: "J58222",
        sector: "정보통신업",
        grade: "BB",
        employees: 42,
        sales: 4_500_000,
        operating_income: 320_000,
        equity: 1_500_000,
        debt: 2_100_000,
        ..company.clone()
    };
}

fn as_amount(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Numbers that look random and follow from a text, the same on every machine and in every version of Rust.
struct Dice(u64);

impl Dice {
    /// FNV-1a of the text.
    fn new(text: &str) -> Self {
        Self(
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    /// SplitMix64, taken modulo: no game depends on its fairness.
    fn number(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below.max(1)
    }

    fn roll(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides).unwrap_or(u64::MAX);
        usize::try_from(self.number(sides)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{SPECIAL, Standing, corporate_number, find, has_valid_check_digit, listed_number, search};

    #[test]
    fn check_digits_follow_the_published_rule() {
        for good in ["1234567891", "1111111119", "4010394930", "6798700433", "1000000090", "1230000021"] {
            assert!(has_valid_check_digit(good), "{good}");
        }
        for bad in ["1234567890", "1111111110", "", "123456789", "12345678911", "123456789a", "일이삼사오육칠팔구십"]
        {
            assert!(!has_valid_check_digit(bad), "{bad}");
        }
        assert_eq!(corporate_number("110111006243"), "1101110062432");
        assert_eq!(corporate_number("110111000001"), "1101110000010");
    }

    #[test]
    fn every_special_and_every_listed_number_is_a_company_and_none_comes_twice() {
        let listed: Vec<String> = (0..500).map(listed_number).collect();
        let all: HashSet<&str> = listed.iter().map(String::as_str).chain(SPECIAL.iter().map(|s| s.number)).collect();
        assert_eq!(all.len(), 508);
        for number in all {
            assert_eq!(find(number).unwrap().number, number);
        }
    }

    #[test]
    fn the_first_three_digits_decide_about_the_others() {
        assert_eq!(find("9990000016"), None);
        assert_eq!(find("0000000000"), None);
        assert_eq!(find("9970000010").unwrap().standing, Standing::Suspended);
        assert!(matches!(find("9980000013").unwrap().standing, Standing::Closed(_)));
        assert_eq!(find("1000000090").unwrap().standing, Standing::Active);
    }

    #[test]
    fn the_same_number_is_the_same_company_and_other_numbers_differ() {
        assert_eq!(find("1000000090"), find("1000000090"));
        assert_ne!(find("1000000090").unwrap().established_on, find("1230000021").unwrap().established_on);
        // Written down so that a change of the dice cannot pass unseen: callers' tests may hold these names.
        let company = find("1000000090").unwrap();
        assert_eq!((company.name.as_str(), company.representative.as_str()), ("두루에너지", "김성호"));
    }

    #[test]
    fn a_search_finds_the_sample_company_first_and_others_after_it() {
        let found = search("샘플");
        assert_eq!(found.first().unwrap().name, "(주)샘플강원");
        assert!(found.len() > 20, "{}", found.len());
        assert!(search("없는회사").is_empty());
    }

    #[test]
    fn the_readme_holds_the_same_table() {
        let readme = include_str!("../README.md");
        for special in SPECIAL {
            let (number, name) = (special.number, special.name);
            let row = format!("| `{number}` | {name} | {} | {} |", special.representative, special.established_on);
            assert!(readme.contains(&row), "{row}");
        }
    }
}
