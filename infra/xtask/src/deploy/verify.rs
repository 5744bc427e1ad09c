//! Compares what was asked for with what the local AWS says it has.

use serde_json::Value;

use super::Fault;

/// Checks that `found` holds everything in `expected`; objects may hold more, lists may be in another order.
pub(super) fn holds(what: &str, expected: &Value, found: &Value) -> Result<(), Fault> {
    if covers(expected, found) {
        return Ok(());
    }
    // Name the entry that differs rather than two whole documents.
    if let (Value::Object(expected), Value::Object(_)) = (expected, found) {
        for (key, value) in expected {
            holds(&format!("{what}.{key}"), value, &found[key])?;
        }
    }
    Err(Fault::Differs { what: what.to_owned(), expected: expected.to_string(), found: found.to_string() })
}

fn covers(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Object(expected), Value::Object(_)) => expected.iter().all(|(key, value)| covers(value, &found[key])),
        (Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && expected.iter().all(|one| found.iter().any(|other| covers(one, other)))
        }
        (Value::Number(expected), Value::Number(found)) => expected.as_f64() == found.as_f64(),
        _ => expected == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn more_fields_and_another_order_are_the_same() {
        assert!(holds("x", &json!({"a": [1, {"b": 2}]}), &json!({"a": [{"b": 2, "c": 3}, 1.0], "d": 4})).is_ok());
    }

    #[test]
    fn the_differing_entry_is_named() {
        let error = holds("table", &json!({"a": 1, "b": {"c": 2}}), &json!({"a": 1, "b": {"c": 3}}))
            .err()
            .map(|fault| fault.to_string());
        assert_eq!(error.as_deref(), Some("read back after creation, table.b.c is `3`; the template says `2`"));
    }

    #[test]
    fn a_missing_list_entry_is_a_difference() {
        assert!(holds("x", &json!(["a", "b"]), &json!(["a"])).is_err());
        assert!(holds("x", &json!({"a": 1}), &Value::Null).is_err());
    }
}
