//! Templates: what a mail says, in Korean and in English. Pure.
//!
//! A template is two files for each language: `{name}.{language}.html`, which extends `layout.html`, and
//! `{name}.{language}.txt`, whose first line is the subject. Rendering is strict: each variable is declared below, a
//! required one that is missing and one that nobody knows are told by name, and everything that stands in HTML is
//! escaped. An address for a button must be `https`, because escaping does not make `javascript:` harmless.
//!
//! What is rendered may come from outside (a mail's own text, an override in the bucket), so it has fuel and a size.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ieum::error::{BAD_FORMAT, Issue, Language, MISSING, TOO_LONG, UNKNOWN_FIELD, issue};
use minijinja::value::Value as Rendered;
use minijinja::{AutoEscape, Environment, ErrorKind, Output, UndefinedBehavior, escape_formatter};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::address::is_unfit;

/// What a mail's variables are given as.
pub type Variables = BTreeMap<String, Value>;

/// The longest value of a variable, in characters.
const MAX_VALUE: usize = 4_000;

/// The longest subject, in characters: more is cut off by every mailbox.
const MAX_SUBJECT: usize = 200;

/// The largest rendered part, in bytes.
const MAX_PART: usize = 512 * 1024;

/// Steps that rendering one part may take.
const FUEL: u64 = 200_000;

/// A text is not a template.
pub const BAD_TEMPLATE: Issue =
    issue("bad_template", "템플릿 문법이 올바르지 않습니다.", "The template cannot be read.");
/// An address must be `https`.
pub const NOT_HTTPS: Issue =
    issue("not_https", "https로 시작하는 주소여야 합니다.", "This must be an address that begins with https.");

/// What a variable may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text on one line, a number, or true and false.
    Line,
    /// The same, of several lines.
    Text,
    /// An `https` address.
    Link,
}

/// A variable of a template.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub form: Form,
    /// Whether a mail cannot do without.
    pub required: bool,
}

const fn line(name: &'static str) -> Variable {
    Variable { name, form: Form::Line, required: true }
}

const fn text(name: &'static str) -> Variable {
    Variable { name, form: Form::Text, required: true }
}

const fn link(name: &'static str) -> Variable {
    Variable { name, form: Form::Link, required: true }
}

const fn optional(variable: Variable) -> Variable {
    Variable { required: false, ..variable }
}

/// A template that a mail can name.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// What it is for, for whoever chooses.
    pub purpose: &'static str,
    /// Its variables.
    pub variables: &'static [Variable],
    files: [Files; 2],
}

/// The two parts of a template in one language.
#[derive(Clone, Copy, Debug)]
struct Files {
    html: &'static str,
    text: &'static str,
}

/// A template's files, compiled in: Korean, then English.
macro_rules! files {
    ($name:literal) => {
        [
            Files {
                html: include_str!(concat!("../templates/", $name, ".ko.html")),
                text: include_str!(concat!("../templates/", $name, ".ko.txt")),
            },
            Files {
                html: include_str!(concat!("../templates/", $name, ".en.html")),
                text: include_str!(concat!("../templates/", $name, ".en.txt")),
            },
        ]
    };
}

/// The layout around the content of every HTML part, and what stands below every text part.
const LAYOUT: &str = include_str!("../templates/layout.html");
const FOOTER: &str = include_str!("../templates/footer.txt");
const BUTTON: &str = include_str!("../templates/button.html");

/// The name under which a mail brings its own words.
pub const CUSTOM: &str = "custom";

/// The templates in the repository; `custom` is the seventh.
pub const TEMPLATES: [Template; 6] = [
    Template {
        name: "welcome",
        purpose: "sign-up welcome",
        variables: &[line("name"), optional(link("action_url"))],
        files: files!("welcome"),
    },
    Template {
        name: "verification",
        purpose: "a code that proves an address",
        variables: &[line("code"), line("expires_minutes")],
        files: files!("verification"),
    },
    Template {
        name: "password-reset",
        purpose: "a link to choose a new password",
        variables: &[line("name"), link("action_url"), line("expires_minutes")],
        files: files!("password-reset"),
    },
    Template {
        name: "account-suspended",
        purpose: "notice of a suspended account",
        variables: &[line("name"), text("reason"), optional(link("action_url"))],
        files: files!("account-suspended"),
    },
    Template {
        name: "notification",
        purpose: "a general notice",
        variables: &[line("title"), text("message"), optional(link("action_url")), optional(line("action_label"))],
        files: files!("notification"),
    },
    Template {
        name: "review-notification",
        purpose: "the outcome of a review",
        variables: &[
            line("name"),
            line("item"),
            line("result"),
            optional(text("comment")),
            optional(link("action_url")),
        ],
        files: files!("review-notification"),
    },
];

impl Template {
    /// The template of that name; `custom` is none.
    pub fn find(name: &str) -> Option<&'static Self> {
        TEMPLATES.iter().find(|template| template.name == name)
    }

    fn files(&self, language: Language) -> Files {
        match language {
            Language::Korean => self.files[0],
            Language::English => self.files[1],
        }
    }
}

/// The tag of a language, as in file names and requests.
pub fn tag(language: Language) -> &'static str {
    match language {
        Language::Korean => "ko",
        Language::English => "en",
    }
}

/// A mail's own words: a subject and two parts, which are templates themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// The subject.
    pub subject: String,
    /// The HTML part: a whole document, or what stands in the layout.
    pub html: String,
    /// The text part.
    pub text: String,
}

/// What every mail may use beside its variables.
#[derive(Clone, Debug, Default)]
pub struct Surroundings<'a> {
    /// Who sends.
    pub brand: &'a str,
    /// Where the recipient can say that he wants no more; only in mail that he may refuse.
    pub unsubscribe_url: Option<&'a str>,
}

/// A rendered mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// The subject.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The text part.
    pub text: String,
}

/// What is wrong with a field of a request, by its path below the mail.
pub type Fault = (String, Issue);

/// Sources that replace those in the repository, by file name.
pub type Overrides = BTreeMap<String, String>;

/// The files of which a template in `language` is made, by their names in the bucket.
pub fn file_names(template: &Template, language: Language) -> [String; 5] {
    let own = format!("{}.{}", template.name, tag(language));
    [format!("{own}.html"), format!("{own}.txt"), "layout.html".into(), "button.html".into(), "footer.txt".into()]
}

/// A template in one language, ready to be rendered any number of times.
#[derive(Debug)]
pub struct Sheet {
    environment: Environment<'static>,
    /// The variables it declares; `None` when whatever its text uses is required.
    variables: Option<&'static [Variable]>,
    language: Language,
}

/// What a text part begins with.
const SUBJECT: &str = "Subject:";

/// The names that every template knows.
const AMBIENT: [&str; 3] = ["brand", "language", "unsubscribe_url"];

impl Sheet {
    /// `template` in `language`, with `overrides` instead of its files.
    ///
    /// # Errors
    /// In words for an operator: an override is no template, or uses a variable that is not declared.
    pub fn of(template: &'static Template, language: Language, overrides: &Overrides) -> Result<Self, String> {
        let files = template.files(language);
        let names = file_names(template, language);
        let builtin = [files.html, files.text, LAYOUT, BUTTON, FOOTER];
        let mut environment = environment();
        let known: BTreeSet<&str> = template.variables.iter().map(|variable| variable.name).chain(AMBIENT).collect();
        for (place, (name, builtin)) in
            ["body.html", "body.txt", "layout.html", "button.html", "footer.txt"].into_iter().zip(builtin).enumerate()
        {
            let file = names.get(place).map_or(name, String::as_str);
            let source = overrides.get(file).map_or(builtin, String::as_str);
            if name == "body.txt" && !source.starts_with(SUBJECT) {
                return Err(format!("`{file}` does not begin with `{SUBJECT}`"));
            }
            let put = environment.add_template_owned(name, source.to_owned());
            put.map_err(|error| format!("`{file}` is no template: {}", place_of(&error)))?;
            let used = environment.get_template(name).map_err(|error| place_of(&error))?.undeclared_variables(false);
            if place < 2
                && let Some(stranger) = used.iter().find(|name| !known.contains(name.as_str()))
            {
                return Err(format!("`{file}` uses `{stranger}`, which the template does not declare"));
            }
        }
        Ok(Self { environment, variables: Some(template.variables), language })
    }

    /// A mail's own `words`.
    ///
    /// # Errors
    /// Which of its fields is no template.
    pub fn own(words: &Words, language: Language) -> Result<Self, Fault> {
        let mut environment = environment();
        // A whole document is left as it is; anything less stands in the layout.
        let html = if words.html.to_ascii_lowercase().contains("<html") {
            words.html.clone()
        } else {
            format!("{{% extends \"layout.html\" %}}{{% block content %}}{}{{% endblock %}}", words.html)
        };
        let text = format!("{}\n{{% include \"footer.txt\" %}}", words.text);
        for (field, name, source) in
            [("subject", "subject.txt", words.subject.clone()), ("html", "body.html", html), ("text", "body.txt", text)]
        {
            let put = environment.add_template_owned(name, source);
            put.map_err(|_| (field.to_owned(), BAD_TEMPLATE))?;
        }
        for (name, source) in [("layout.html", LAYOUT), ("button.html", BUTTON), ("footer.txt", FOOTER)] {
            let put = environment.add_template_owned(name, source);
            put.map_err(|_| ("html".to_owned(), BAD_TEMPLATE))?;
        }
        Ok(Self { environment, variables: None, language })
    }

    /// What the mail says to one recipient.
    ///
    /// # Errors
    /// Every variable at fault, or what the rendered text must not be.
    pub fn render(&self, variables: &Variables, around: &Surroundings<'_>) -> Result<Parts, Vec<Fault>> {
        let mut context = self.checked(variables)?;
        context.insert("brand".into(), Rendered::from(around.brand));
        context.insert("language".into(), Rendered::from(tag(self.language)));
        context.insert("unsubscribe_url".into(), around.unsubscribe_url.map_or(Rendered::from(()), Rendered::from));
        let html = self.part("html", "body.html", &context)?;
        let text = self.part("text", "body.txt", &context)?;
        let (subject, text) = match self.variables {
            None => (self.part("subject", "subject.txt", &context)?, text),
            Some(_) => {
                let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
                (first.strip_prefix(SUBJECT).unwrap_or(first).to_owned(), rest.trim_start().to_owned())
            }
        };
        let subject = subject.trim().to_owned();
        if subject.is_empty() {
            return Err(vec![("subject".to_owned(), MISSING)]);
        }
        if subject.chars().any(is_unfit) {
            return Err(vec![("subject".to_owned(), BAD_FORMAT)]);
        }
        if subject.chars().count() > MAX_SUBJECT {
            return Err(vec![("subject".to_owned(), TOO_LONG)]);
        }
        Ok(Parts { subject, html, text })
    }

    /// The variables as the templates see them: what was given, and `none` for what may be left out.
    fn checked(&self, variables: &Variables) -> Result<BTreeMap<String, Rendered>, Vec<Fault>> {
        let mut context = BTreeMap::new();
        let mut faults = Vec::new();
        let declared: Vec<Variable> = match self.variables {
            Some(declared) => declared.to_vec(),
            None => Vec::new(),
        };
        let used = if self.variables.is_none() { self.used() } else { BTreeSet::new() };
        for variable in &declared {
            if !variables.contains_key(variable.name) {
                if variable.required {
                    faults.push((path(variable.name), MISSING));
                } else {
                    context.insert(variable.name.to_owned(), Rendered::from(()));
                }
            }
        }
        faults.extend(used.iter().filter(|name| !variables.contains_key(*name)).map(|name| (path(name), MISSING)));
        for (name, value) in variables {
            let form = declared.iter().find(|variable| variable.name == name).map(|variable| variable.form);
            let form = form.or_else(|| used.contains(name).then_some(Form::Text));
            match form.ok_or(UNKNOWN_FIELD).and_then(|form| checked(value, form)) {
                Ok(value) => drop(context.insert(name.clone(), value)),
                Err(issue) => faults.push((path(name), issue)),
            }
        }
        if faults.is_empty() { Ok(context) } else { Err(faults) }
    }

    /// The variables that a mail's own words use.
    fn used(&self) -> BTreeSet<String> {
        let names = ["subject.txt", "body.html", "body.txt"];
        let parts = names.iter().filter_map(|name| self.environment.get_template(name).ok());
        let used = parts.flat_map(|part| part.undeclared_variables(false));
        used.filter(|name| {
            !AMBIENT.contains(&name.as_str()) && self.environment.globals().all(|(global, _)| global != name)
        })
        .collect()
    }

    fn part(&self, field: &str, name: &str, context: &BTreeMap<String, Rendered>) -> Result<String, Vec<Fault>> {
        let rendered = self.environment.get_template(name).and_then(|part| part.render(context));
        let part = rendered.map_err(|error| {
            // The names of variables are checked before, so this is about a value inside of one, or the text itself.
            let issue = if error.kind() == ErrorKind::OutOfFuel { TOO_LONG } else { BAD_TEMPLATE };
            vec![(field.to_owned(), issue)]
        })?;
        if part.len() > MAX_PART { Err(vec![(field.to_owned(), TOO_LONG)]) } else { Ok(part) }
    }
}

/// A variable's place in a request.
fn path(name: &str) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    format!("variables.{name}")
}

fn checked(value: &Value, form: Form) -> Result<Rendered, Issue> {
    match (value, form) {
        (Value::String(text), _) if text.chars().count() > MAX_VALUE => Err(TOO_LONG),
        (Value::String(text), Form::Line | Form::Text) => {
            // Paragraphs are text; other control characters are not.
            let fit = |c| !is_unfit(c) || (form == Form::Text && matches!(c, '\n' | '\t'));
            if text.chars().all(fit) { Ok(Rendered::from(text.as_str())) } else { Err(BAD_FORMAT) }
        }
        (Value::String(text), Form::Link) => match Url::parse(text) {
            Ok(url) if url.scheme() == "https" && url.username().is_empty() => Ok(Rendered::from(url.as_str())),
            Ok(_) | Err(_) => Err(NOT_HTTPS),
        },
        // As it was written: a template does no arithmetic.
        (Value::Number(number), Form::Line | Form::Text) => Ok(Rendered::from(number.to_string())),
        (Value::Bool(truth), Form::Line | Form::Text) => Ok(Rendered::from(*truth)),
        (Value::Null | Value::Array(_) | Value::Object(_) | Value::Number(_) | Value::Bool(_), _) => Err(BAD_FORMAT),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(
        |name| {
            if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
        },
    );
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if matches!(state.auto_escape(), AutoEscape::Html) && !value.is_safe() => Ok(escape(out, text)?),
        Some(_) | None => escape_formatter(out, state, value),
    });
    environment.set_fuel(Some(FUEL));
    environment
}

/// Escapes what has a meaning in HTML and in its attributes. Not the slash, which the library escapes as well: a link is
/// also read by programs that know no entities.
fn escape(out: &mut Output<'_>, text: &str) -> std::fmt::Result {
    for c in text.chars() {
        match c {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

/// What is wrong with a template and where, without quoting it.
fn place_of(error: &minijinja::Error) -> String {
    format!("{} in line {}", error.kind(), error.line().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const AROUND: Surroundings<'_> = Surroundings { brand: "이음", unsubscribe_url: None };
    const LANGUAGES: [Language; 2] = [Language::Korean, Language::English];

    fn variables(value: Value) -> Variables {
        serde_json::from_value(value).unwrap()
    }

    fn render(name: &str, language: Language, given: Value) -> Result<Parts, Vec<(String, &'static str)>> {
        let sheet = Sheet::of(Template::find(name).unwrap(), language, &Overrides::new()).unwrap();
        let named = |faults: Vec<Fault>| faults.into_iter().map(|(field, issue)| (field, issue.name)).collect();
        sheet.render(&variables(given), &AROUND).map_err(named)
    }

    fn own(subject: &str, html: &str, text: &str, given: Value) -> Result<Parts, Vec<(String, &'static str)>> {
        let words = Words { subject: subject.into(), html: html.into(), text: text.into() };
        let named = |faults: Vec<Fault>| faults.into_iter().map(|(field, issue)| (field, issue.name)).collect();
        let sheet = Sheet::own(&words, Language::Korean).map_err(|fault| named(vec![fault]))?;
        sheet.render(&variables(given), &AROUND).map_err(named)
    }

    #[test]
    fn every_template_says_everything_it_is_given_in_both_languages() {
        for template in &TEMPLATES {
            for language in LANGUAGES {
                let value = |variable: &Variable| match variable.form {
                    Form::Line | Form::Text => json!(format!("값-{}", variable.name)),
                    Form::Link => json!(format!("https://example.kr/{}", variable.name)),
                };
                let all = template.variables.iter().map(|one| (one.name.to_owned(), value(one))).collect::<Variables>();
                let required = template.variables.iter().filter(|one| one.required);
                let required = required.map(|one| (one.name.to_owned(), value(one))).collect::<Variables>();
                let sheet = Sheet::of(template, language, &Overrides::new()).unwrap();
                sheet.render(&required, &AROUND).unwrap();
                let parts = sheet.render(&all, &AROUND).unwrap();
                for (name, value) in &all {
                    let value = value.as_str().unwrap();
                    assert!(parts.html.contains(value), "{} {language:?}: {name} in HTML", template.name);
                    // A text part shows where a button leads, not what is written on it.
                    let in_text = parts.text.contains(value) || parts.subject.contains(value);
                    assert!(in_text, "{} {language:?}: {name} in text", template.name);
                }
                assert!(parts.subject.contains("이음"), "{}", parts.subject);
                assert!(parts.html.contains(&format!("lang=\"{}\"", tag(language))));
            }
        }
    }

    #[test]
    fn what_is_missing_unknown_or_of_the_wrong_form_is_told_by_name_and_all_at_once() {
        let faults = render(
            "password-reset",
            Language::Korean,
            json!({"name": "홍\r\nBcc: x", "action_url": "javascript:alert(1)", "nmae": 1}),
        );
        let expected = [
            ("variables.expires_minutes", "missing"),
            ("variables.action_url", "not_https"),
            ("variables.name", "bad_format"),
            ("variables.nmae", "unknown_field"),
        ];
        assert_eq!(faults.unwrap_err(), expected.map(|(field, issue)| (field.to_owned(), issue)));
        for bad in
            [json!(null), json!([]), json!({}), json!("한 줄\n두 줄"), json!("a\u{202e}b"), json!("가".repeat(4_001))]
        {
            assert!(render("welcome", Language::Korean, json!({"name": bad})).is_err());
        }
        let text = json!({"title": "공지", "message": "첫 줄\n둘째 줄"});
        assert!(render("notification", Language::Korean, text).unwrap().html.contains("첫 줄\n둘째 줄"));
    }

    #[test]
    fn html_in_a_variable_is_text() {
        let name = "<img src=x onerror=alert(1)> & \"홍\"";
        let parts = render("welcome", Language::Korean, json!({"name": name})).unwrap();
        assert!(parts.html.contains("&lt;img src=x onerror=alert(1)&gt; &amp; &quot;홍&quot;"), "{}", parts.html);
        assert!(parts.text.contains(name), "a text part has nothing to escape");
        let parts = own("{{ a }}", "<b>{{ a }}</b>", "{{ a }}", json!({"a": "<i>"})).unwrap();
        assert!(parts.html.contains("<b>&lt;i&gt;</b>"));
        assert_eq!(parts.subject, "<i>");
    }

    #[test]
    fn own_words_stand_in_the_layout_unless_they_are_a_document() {
        let parts = own("제목", "<p>본문</p>", "본문", json!({})).unwrap();
        assert!(parts.html.contains("<!doctype html>") && parts.html.contains("<p>본문</p>"));
        assert!(parts.text.starts_with("본문"));
        let parts = own("제목", "<HTML><body>본문</body></HTML>", "본문", json!({})).unwrap();
        assert_eq!(parts.html, "<HTML><body>본문</body></HTML>");
    }

    #[test]
    fn own_words_are_bounded_and_their_variables_strict() {
        let fault = |field: &str, issue| vec![(field.to_owned(), issue)];
        let error = |subject: &str, html: &str, given| own(subject, html, "본문", given).unwrap_err();
        assert_eq!(error("제목", "{{ 이름", json!({})), fault("html", "bad_template"));
        assert_eq!(error("제목", "{{ 이름 }}", json!({})), fault("variables.이름", "missing"));
        assert_eq!(error("제목", "본문", json!({"이름": 1})), fault("variables.이름", "unknown_field"));
        assert_eq!(error("제\r\nBcc: a@example.kr", "본문", json!({})), fault("subject", "bad_format"));
        assert_eq!(error("{{ a }}", "본문", json!({"a": "한 줄\n두 줄"})), fault("subject", "bad_format"));
        let long = "가".repeat(201);
        assert_eq!(error(&long, "본문", json!({})), fault("subject", "too_long"));
        assert_eq!(error("{% if false %}제목{% endif %}", "본문", json!({})), fault("subject", "missing"));
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert_eq!(error("제목", endless, json!({})), fault("html", "too_long"));
        assert_eq!(error("제목", "{% include '/etc/passwd' %}", json!({})), fault("html", "bad_template"));
    }

    #[test]
    fn an_override_replaces_a_file_and_is_refused_when_it_is_no_template() {
        let template = Template::find("welcome").unwrap();
        let with = |name: &str, text: &str| {
            let overrides = Overrides::from([(name.to_owned(), text.to_owned())]);
            Sheet::of(template, Language::Korean, &overrides)
        };
        let sheet = with("welcome.ko.txt", "Subject: 새 제목\n\n{{ name }}님{{ action_url or '' }}").unwrap();
        let parts = sheet.render(&variables(json!({"name": "홍길동"})), &AROUND).unwrap();
        assert_eq!((parts.subject.as_str(), parts.text.as_str()), ("새 제목", "홍길동님"));
        for (name, text) in [
            ("welcome.ko.html", "{% block"),
            ("welcome.ko.html", "{{ nmae }}"),
            ("welcome.ko.txt", "제목이 없음"),
            ("layout.html", "{% if %}"),
        ] {
            let error = with(name, text).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
        assert!(with("welcome.en.html", "{% block").is_ok(), "of the other language");
    }

    proptest! {
        /// Whatever a variable holds, the subject stays one line and no markup gets into the HTML.
        #[test]
        fn no_value_breaks_out(value in "\\PC{0,50}|.{0,50}|[<>\"'&{}%#\r\n]{0,30}") {
            if let Ok(parts) = own("제목 {{ v }}", "<p>{{ v }}</p>", "{{ v }}", json!({"v": value})) {
                prop_assert!(!parts.subject.chars().any(is_unfit));
                let plain = own("제목", "<p>{{ v }}</p>", "본문", json!({"v": "x"})).unwrap();
                let tags = |html: &str| html.matches('<').count();
                prop_assert_eq!(tags(&parts.html), tags(&plain.html));
            }
        }
    }
}
