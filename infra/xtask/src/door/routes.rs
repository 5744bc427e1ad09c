//! Finds the route of a request as API Gateway does: full matches before greedy ones, literal segments before
//! variables, a method before `ANY`, `$default` last.
//!
//! Paths are compared decoded, `%25` excepted, because that is how an HTTP API reads them: an encoded slash separates
//! segments.

use http::Method;

/// The routes of one HTTP API.
#[derive(Debug, Clone)]
pub(crate) struct Routes(Vec<Route>);

#[derive(Debug, Clone)]
struct Route {
    key: String,
    /// `None` is `ANY`.
    method: Option<String>,
    /// `None` is `$default`.
    segments: Option<Vec<Segment>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Variable,
    Greedy,
}

impl Routes {
    /// Reads route keys such as `GET /v1/companies/{business_number}`.
    pub(crate) fn new<'a>(keys: impl IntoIterator<Item = &'a String>) -> Self {
        Self(keys.into_iter().map(|key| Route::parse(key)).collect())
    }

    /// The key of the route that serves a request; `path` as it came over the wire.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<&str> {
        let decoded = decode(path);
        let segments: Vec<&str> = decoded.trim_start_matches('/').split('/').collect();
        let candidates = self.0.iter().filter(|route| route.matches(method, &segments));
        candidates.max_by_key(|route| route.rank()).map(|route| route.key.as_str())
    }
}

impl Route {
    fn parse(key: &str) -> Self {
        let (method, segments) = match key.split_once(' ') {
            Some((method, path)) => {
                let segments = path.trim_start_matches('/').split('/').map(|segment| {
                    match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                        Some(name) if name.ends_with('+') => Segment::Greedy,
                        Some(_) => Segment::Variable,
                        None => Segment::Literal(segment.to_owned()),
                    }
                });
                (Some(method).filter(|method| *method != "ANY").map(str::to_owned), Some(segments.collect()))
            }
            None => (None, None),
        };
        Self { key: key.to_owned(), method, segments }
    }

    fn matches(&self, method: &Method, path: &[&str]) -> bool {
        let method_fits = self.method.as_ref().is_none_or(|own| own == method.as_str());
        let Some(segments) = &self.segments else { return method_fits };
        let is_greedy = segments.last() == Some(&Segment::Greedy);
        let length_fits = if is_greedy { path.len() >= segments.len() } else { path.len() == segments.len() };
        method_fits
            && length_fits
            && segments.iter().zip(path).all(|(own, segment)| match own {
                Segment::Literal(text) => text == segment,
                Segment::Variable => !segment.is_empty(),
                Segment::Greedy => true,
            })
            // A greedy variable must hold something.
            && (!is_greedy || path[segments.len() - 1..].iter().any(|segment| !segment.is_empty()))
    }

    /// Higher is more specific: not `$default`, not greedy, more literals, a stated method.
    fn rank(&self) -> (bool, bool, usize, bool) {
        let segments = self.segments.as_deref().unwrap_or_default();
        let literals = segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
        (self.segments.is_some(), segments.last() != Some(&Segment::Greedy), literals, self.method.is_some())
    }
}

/// Decodes every escape but `%25`.
fn decode(path: &str) -> String {
    path.split("%25")
        .map(|part| percent_encoding::percent_decode_str(part).decode_utf8_lossy())
        .collect::<Vec<_>>()
        .join("%25")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(keys: &[&str], method: &str, path: &str) -> Option<String> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        Routes::new(&keys).find(&method, path).map(str::to_owned)
    }

    const KEYS: [&str; 7] = [
        "GET /v1/companies/{number}",
        "GET /v1/companies/status",
        "POST /v1/companies/{number}/representative",
        "ANY /v1/companies/{number}",
        "GET /v1/{proxy+}",
        "GET /",
        "GET /v1/companies",
    ];

    #[test]
    fn the_most_specific_route_wins() {
        assert_eq!(find(&KEYS, "GET", "/v1/companies/status").as_deref(), Some("GET /v1/companies/status"));
        assert_eq!(find(&KEYS, "GET", "/v1/companies/1234567891").as_deref(), Some("GET /v1/companies/{number}"));
        assert_eq!(find(&KEYS, "PUT", "/v1/companies/1234567891").as_deref(), Some("ANY /v1/companies/{number}"));
        assert_eq!(find(&KEYS, "GET", "/v1/other/a/b").as_deref(), Some("GET /v1/{proxy+}"));
        assert_eq!(find(&KEYS, "GET", "/").as_deref(), Some("GET /"));
    }

    #[test]
    fn nothing_else_matches() {
        assert_eq!(find(&KEYS, "DELETE", "/v1/companies"), None);
        assert_eq!(find(&KEYS, "POST", "/v1/companies/1/other"), None);
        assert_eq!(find(&KEYS, "GET", "/v2"), None);
        assert_eq!(find(&KEYS[..1], "GET", "/v1/companies/"), None);
        assert_eq!(find(&["GET /v1/{proxy+}"], "GET", "/v1/"), None);
    }

    #[test]
    fn a_default_route_takes_the_rest() {
        assert_eq!(find(&["$default", "GET /a"], "GET", "/b").as_deref(), Some("$default"));
        assert_eq!(find(&["$default", "GET /a"], "GET", "/a").as_deref(), Some("GET /a"));
    }

    #[test]
    fn an_encoded_slash_separates_and_an_encoded_percent_stays() {
        assert_eq!(find(&KEYS[..1], "GET", "/v1/companies/a%2Fb"), None);
        assert!(find(&KEYS[..1], "GET", "/v1/companies/a%252Fb").is_some());
        assert!(find(&KEYS[..1], "GET", "/v1/companies/%EA%B0%80").is_some());
        assert!(find(&KEYS[..1], "GET", "//v1/companies/1").is_some());
    }
}
