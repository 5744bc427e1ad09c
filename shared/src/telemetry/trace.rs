//! The identity of one request across services: a W3C trace id.

use http::HeaderMap;

tokio::task_local! {
    static CURRENT: TraceId;
}

/// 32 lower-case hexadecimal digits, never all zero (<https://www.w3.org/TR/trace-context/>, 3.2.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceId(String);

impl TraceId {
    /// The caller's trace: `traceparent` first, then AWS X-Ray's header, else a new one. What a caller sends is taken
    /// only when it has the exact form, because it ends up in logs and responses.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        text("traceparent")
            .and_then(Self::from_traceparent)
            .or_else(|| text("x-amzn-trace-id").and_then(Self::from_xray))
            .unwrap_or_else(Self::random)
    }

    /// A new trace.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }

    /// The trace of the work that is being done, see [`TraceId::during`]; a new one outside of any.
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_else(|_| Self::random())
    }

    /// Does `work` as part of this trace.
    pub async fn during<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// The trace as the header `traceparent`, with a parent made up: we keep no spans.
    pub fn to_traceparent(&self) -> String {
        format!("00-{}-{:016x}-01", self.0, fastrand::u64(1..))
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace in a header `traceparent`, if it has the exact form.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let well_formed = version.len() == 2 && version != "ff" && parent.len() == 16 && flags.len() == 2;
        well_formed.then(|| Self::checked(id)).flatten()
    }

    /// `Root=1-58406520-a006649127e371903a2de979;Parent=...;Sampled=1`: the trace id in two parts.
    fn from_xray(header: &str) -> Option<Self> {
        let root = header.split(';').find_map(|part| part.trim().strip_prefix("Root=1-"))?;
        let (time, rest) = root.split_once('-')?;
        Self::checked(&format!("{time}{rest}"))
    }

    fn checked(id: &str) -> Option<Self> {
        let hex = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (hex && id.bytes().any(|byte| byte != b'0')).then(|| Self(id.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(name: &'static str, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let id = TraceId::from_headers(&headers).0;
        value.replace('-', "").contains(&id).then_some(id)
    }

    #[test]
    fn well_formed_headers_are_continued() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(traced("traceparent", &format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        let xray = "Root=1-58406520-a006649127e371903a2de979;Parent=53995c3f42cd8ad8;Sampled=1";
        assert_eq!(traced("x-amzn-trace-id", xray).as_deref(), Some("58406520a006649127e371903a2de979"));
    }

    #[tokio::test]
    async fn the_trace_of_the_present_work_can_be_sent_on() {
        let trace = TraceId::random();
        let seen = trace.clone().during(async { TraceId::current() }).await;
        assert_eq!(TraceId::from_traceparent(&seen.to_traceparent()), Some(trace));
        assert_ne!(TraceId::current(), TraceId::current(), "outside of any work each is new");
    }

    #[test]
    fn anything_else_begins_a_new_trace() {
        for header in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-01",
            "<script>",
            "",
        ] {
            assert_eq!(traced("traceparent", header), None, "{header}");
        }
        assert_eq!(TraceId::from_headers(&HeaderMap::new()).as_str().len(), 32);
    }
}
