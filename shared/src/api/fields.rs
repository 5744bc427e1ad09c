//! The members of a body or query, taken one by one; what is wrong is collected, what is left over is refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::error::{ApiError, BAD_FORMAT, Detail, INVALID_REQUEST, Issue, MISSING, TOO_LONG, UNKNOWN_FIELD};

/// Named members still to be read, and what is wrong with those that were.
///
/// Each method notes an issue and yields `None` when its member is not as it should be; [`Fields::finish`] then yields
/// all issues at once, so that a form is corrected once.
#[derive(Debug)]
pub struct Fields {
    members: Map<String, Value>,
    issues: Vec<Detail>,
}

impl Fields {
    /// The members of an object, none of them read yet.
    pub fn new(members: Map<String, Value>) -> Self {
        Self { members, issues: Vec::new() }
    }

    /// Text of 1 to `max` characters, trimmed.
    pub fn text(&mut self, name: &'static str, max: usize) -> Option<String> {
        match self.members.remove(name) {
            None | Some(Value::Null) => self.note(name, MISSING),
            Some(Value::String(text)) => {
                let text = text.trim();
                match text.chars().count() {
                    0 => self.note(name, MISSING),
                    length if length > max => self.note(name, TOO_LONG),
                    _ if text.chars().any(char::is_control) => self.note(name, BAD_FORMAT),
                    _ => Some(text.to_owned()),
                }
            }
            Some(_) => self.note(name, BAD_FORMAT),
        }
    }

    /// The same, where the member may be left out: `Some(None)` when it is.
    pub fn optional_text(&mut self, name: &'static str, max: usize) -> Option<Option<String>> {
        match self.members.get(name) {
            None | Some(Value::Null) => {
                self.members.remove(name);
                Some(None)
            }
            Some(_) => self.text(name, max).map(Some),
        }
    }

    /// The same, where an outside format leaves a member out by sending it empty: `Some(None)` when it does.
    pub fn text_or_blank(&mut self, name: &'static str, max: usize) -> Option<Option<String>> {
        if self.members.get(name).and_then(Value::as_str).is_some_and(|text| text.trim().is_empty()) {
            self.members.remove(name);
        }
        self.optional_text(name, max)
    }

    /// A whole number from `min` to `max`, as a number or as digits; `default` when it is left out.
    pub fn number(&mut self, name: &'static str, default: u32, min: u32, max: u32) -> Option<u32> {
        let number = match self.members.remove(name) {
            None | Some(Value::Null) => return Some(default),
            Some(Value::Number(number)) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            Some(Value::String(digits)) => digits.parse().ok(),
            Some(_) => None,
        };
        number.filter(|number| (min..=max).contains(number)).or_else(|| self.note(name, BAD_FORMAT))
    }

    /// A whole number from `min` to `max`, as a number or as digits.
    pub fn whole(&mut self, name: &'static str, min: i64, max: i64) -> Option<i64> {
        let number = match self.members.remove(name) {
            None | Some(Value::Null) => return self.note(name, MISSING),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(digits)) => digits.parse().ok(),
            Some(_) => None,
        };
        number.filter(|number| (min..=max).contains(number)).or_else(|| self.note(name, BAD_FORMAT))
    }

    /// An object of 1 to `max` settings by name, each a text or whole number of up to `length` characters, or `null` for
    /// "as it was deployed".
    pub fn settings(
        &mut self,
        name: &'static str,
        max: usize,
        length: usize,
    ) -> Option<BTreeMap<String, Option<String>>> {
        let members = match self.members.remove(name) {
            None | Some(Value::Null) => return self.note(name, MISSING),
            Some(Value::Object(members)) if members.is_empty() => return self.note(name, MISSING),
            Some(Value::Object(members)) if members.len() > max => return self.note(name, TOO_LONG),
            Some(Value::Object(members)) => members,
            Some(_) => return self.note(name, BAD_FORMAT),
        };
        let mut settings = BTreeMap::new();
        let issues = self.issues.len();
        for (setting, value) in members {
            let text = match value {
                Value::Null => None,
                Value::String(text) => Some(text),
                Value::Number(number) => Some(number.to_string()),
                Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    self.issues.push(Detail::field(presentable(&setting), BAD_FORMAT));
                    continue;
                }
            };
            if setting.chars().count() > length || text.as_ref().is_some_and(|text| text.chars().count() > length) {
                self.issues.push(Detail::field(presentable(&setting), TOO_LONG));
            }
            settings.insert(setting, text);
        }
        (self.issues.len() == issues).then_some(settings)
    }

    /// A list of 1 to `max` texts.
    pub fn texts(&mut self, name: &'static str, max: usize) -> Option<Vec<String>> {
        match self.members.remove(name) {
            None | Some(Value::Null) => self.note(name, MISSING),
            Some(Value::Array(items)) if items.is_empty() => self.note(name, MISSING),
            Some(Value::Array(items)) if items.len() > max => self.note(name, TOO_LONG),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<Vec<_>>>().or_else(|| self.note(name, BAD_FORMAT))
            }
            Some(_) => self.note(name, BAD_FORMAT),
        }
    }

    /// The member `name` as it stands; `None`, with nothing noted, when it is left out or null.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Reads an object that stands at `path`: what is wrong in it, or left over, is noted here under that path.
    pub fn within<T>(
        &mut self,
        path: &str,
        members: Map<String, Value>,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let mut inner = Self::new(members);
        let value = read(&mut inner);
        inner.note_left_over();
        let whole = inner.issues.is_empty();
        self.issues.extend(inner.issues.into_iter().map(|issue| issue.within(path)));
        value.filter(|_| whole)
    }

    /// Notes that the field `name` has `issue`; always `None`.
    pub fn note<T>(&mut self, name: impl Into<String>, issue: Issue) -> Option<T> {
        self.issues.push(Detail::field(name, issue));
        None
    }

    /// Lets go of the members not read so far: they belong to an outside format, which may grow.
    pub fn ignore_rest(&mut self) {
        self.members.clear();
    }

    /// `value` if every member was as it should be and none was left over.
    ///
    /// # Errors
    /// 400 with one detail for each member at fault.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, ApiError> {
        self.note_left_over();
        match value {
            Some(value) if self.issues.is_empty() => Ok(value),
            _ => Err(self.issues.into_iter().fold(ApiError::new(INVALID_REQUEST), ApiError::with)),
        }
    }

    fn note_left_over(&mut self) {
        let left_over: Vec<String> = self.members.keys().take(20).cloned().collect();
        for name in left_over {
            self.issues.push(Detail::field(presentable(&name), UNKNOWN_FIELD));
        }
    }
}

/// A name that came from outside and goes back: short and without control characters.
pub(super) fn presentable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}
