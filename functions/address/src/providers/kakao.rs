//! Kakao Local: address search with coordinates. It knows less of the administration than the register and is kinder to
//! what people type.
//!
//! Source: <https://developers.kakao.com/docs/latest/ko/local/dev-guide>; 100,000 calls a day. Traps handled
//! here, each with a test:
//!
//! - 429 means that the day's quota is gone: asking again is of no use for a long while;
//! - 403 means that Kakao Map is not switched on for the application: a matter of credentials, not of this request;
//! - coordinates are texts, longitude first; names of provinces are short;
//! - either half of a row may be null.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderValue, header};
use ieum::http::{HttpClient, Incoming, Outgoing};
use ieum::provider::{Probe, ProbeKind, Provider, ProviderError};
use ieum::secrets::{ExposeSecret, Secret, SecretShape, SecretString};
use serde::Deserialize;
use url::Url;

use crate::address::{
    Address, AddressPage, AddressQuery, AddressThere, BuildingNumber, Codes, Located, MatchQuality, Point, Region,
    Site, code, extra,
};
use crate::sido;

/// The last page Kakao gives.
const MAX_PAGE: u32 = 45;

/// For how long everybody stays away once the day's quota is used up; then one call looks again.
const QUOTA_BLOCK: Duration = Duration::from_secs(600);

/// The secret of this provider family.
#[derive(Debug, Deserialize)]
pub struct KakaoSecret {
    rest_api_key: SecretString,
}

impl SecretShape for KakaoSecret {
    const MEMBERS: &'static [&'static str] = &["rest_api_key"];
}

/// The client.
#[derive(Clone, Debug)]
pub struct Kakao(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    base_url: Url,
    http: HttpClient,
    secret: Arc<Secret<KakaoSecret>>,
}

#[derive(Debug, Deserialize)]
struct Envelope {
    meta: Meta,
    documents: Vec<Document>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    total_count: u64,
}

/// A row; the address of a place comes without the first four.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(default)]
    address_name: String,
    #[serde(default)]
    address_type: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    address: Option<Lot>,
    road_address: Option<Road>,
}

/// The half by lot; what we do not use is left out.
#[derive(Debug, Deserialize)]
struct Lot {
    address_name: String,
    region_1depth_name: String,
    region_2depth_name: String,
    region_3depth_name: String,
    #[serde(default)]
    h_code: String,
    #[serde(default)]
    b_code: String,
}

/// The half by road.
#[derive(Debug, Deserialize)]
struct Road {
    address_name: String,
    region_1depth_name: String,
    region_2depth_name: String,
    region_3depth_name: String,
    road_name: String,
    underground_yn: String,
    main_building_no: String,
    sub_building_no: String,
    #[serde(default)]
    building_name: String,
    #[serde(default)]
    zone_no: String,
}

impl Kakao {
    /// A client of Kakao Local at `base_url`.
    pub fn new(base_url: Url, http: HttpClient, secret: Arc<Secret<KakaoSecret>>) -> Self {
        Self(Arc::new(Inner { base_url, http, secret }))
    }

    async fn search(&self, query: &str, page: u32, size: u32) -> Result<Envelope, ProviderError> {
        let (page, size) = (page.to_string(), size.to_string());
        let parameters = [("query", query), ("analyze_type", "similar"), ("page", &page), ("size", &size)];
        self.ask("search/address.json", &parameters).await
    }

    async fn ask(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Result<Envelope, ProviderError> {
        let secret = self.0.secret.current().await;
        let url = format!("{}/v2/local/{endpoint}", self.0.base_url.as_str().trim_end_matches('/'));
        let mut url = Url::parse(&url).map_err(|error| ProviderError::Malformed(Box::new(error)))?;
        url.query_pairs_mut().extend_pairs(parameters);
        let mut key = HeaderValue::from_str(&format!("KakaoAK {}", secret.rest_api_key.expose_secret()))
            .map_err(|_| nonsense("the key is not a header value"))?;
        key.set_sensitive(true);
        let mut outgoing = Outgoing::get(url);
        outgoing.headers.insert(header::AUTHORIZATION, key);
        let answer = self.0.http.exchange(outgoing).await?;
        match read(&answer) {
            Err(ProviderError::Unauthorized) if self.0.secret.refused(&secret).await => {
                Err(ProviderError::CredentialsReplaced)
            }
            outcome => outcome,
        }
    }
}

fn read(answer: &Incoming) -> Result<Envelope, ProviderError> {
    match answer.failure() {
        None => answer.json(),
        Some(ProviderError::Throttled { retry_after }) => {
            Err(ProviderError::Throttled { retry_after: Some(retry_after.unwrap_or_default().max(QUOTA_BLOCK)) })
        }
        // What it does not like about a request that we made is our mistake, not the caller's.
        Some(ProviderError::Rejected { code }) => Err(nonsense(&format!("our request was refused: {code}"))),
        Some(error) => Err(error),
    }
}

impl Document {
    fn point(&self) -> Option<Point> {
        Point::new(self.y.parse().ok()?, self.x.parse().ok()?)
    }

    fn address(&self) -> Address {
        let (lot, road) = (self.address.as_ref(), self.road_address.as_ref());
        let match_quality = match self.address_type.as_str() {
            "ROAD_ADDR" => Some(MatchQuality::Building),
            "REGION_ADDR" => Some(MatchQuality::Lot),
            "ROAD" => Some(MatchQuality::Road),
            "REGION" => Some(MatchQuality::Region),
            _ => None,
        };
        // A row without either half is the name of a region or road.
        let lot_address = lot.map(|lot| lot.address_name.clone());
        let lot_address = lot_address.or_else(|| road.is_none().then(|| self.address_name.clone()));
        let legal_dong = lot.and_then(|lot| code(&lot.b_code, 10));
        let parts =
            lot.map(|lot| (&lot.region_1depth_name, &lot.region_2depth_name, &lot.region_3depth_name)).or_else(|| {
                road.map(|road| (&road.region_1depth_name, &road.region_2depth_name, &road.region_3depth_name))
            });
        let (sido, sigungu, third) =
            parts.map_or((None, None, None), |(one, two, three)| (filled(one), filled(two), filled(three)));
        // A town and the village in it come in one.
        let (eupmyeondong, ri) = match third.as_deref().and_then(|name| name.split_once(' ')) {
            Some((town, village)) => (Some(town.to_owned()), Some(village.to_owned())),
            None => (third, None),
        };
        let building_name = road.and_then(|road| filled(&road.building_name));
        let dong = eupmyeondong.as_deref().filter(|name| ri.is_none() && name.ends_with(['동', '로', '가']));
        Address {
            postal_code: road.and_then(|road| code(&road.zone_no, 5)),
            road_address: road.map(|road| sido::written_out(&road.address_name)),
            lot_address: lot_address.map(|address| sido::written_out(&address)),
            extra: road.and_then(|_| extra(dong, building_name.as_deref())),
            building_number: road.and_then(|road| {
                Some(BuildingNumber {
                    underground: road.underground_yn == "Y",
                    main: road.main_building_no.parse().ok()?,
                    sub: road.sub_building_no.parse().unwrap_or_default(),
                })
            }),
            region: Region {
                sido: sido.map(|name| sido::written_out(&name)),
                sigungu,
                eupmyeondong,
                ri,
                road: road.and_then(|road| filled(&road.road_name)),
            },
            codes: Codes {
                sigungu: legal_dong.as_deref().map(|code| code[..5].to_owned()),
                legal_dong,
                administrative_dong: lot.and_then(|lot| code(&lot.h_code, 10)),
                ..Codes::default()
            },
            building_name,
            coordinates: self.point(),
            match_quality,
            ..Address::default()
        }
    }
}

fn filled(text: &str) -> Option<String> {
    Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[async_trait]
impl Provider<AddressQuery, AddressPage> for Kakao {
    fn name(&self) -> &'static str {
        "kakao"
    }

    async fn call(&self, query: &AddressQuery) -> Result<AddressPage, ProviderError> {
        if query.page > MAX_PAGE {
            return Err(nonsense("Kakao has no such page"));
        }
        let Envelope { meta, documents } = self.search(query.keyword.as_str(), query.page, query.size).await?;
        Ok(AddressPage::of(documents.iter().map(Document::address), meta.total_count))
    }
}

#[async_trait]
impl Provider<Site, Located> for Kakao {
    fn name(&self) -> &'static str {
        "kakao"
    }

    async fn call(&self, site: &Site) -> Result<Located, ProviderError> {
        let Envelope { documents, .. } = self.search(&site.road_address, 1, 1).await?;
        // A street or district of a similar name is not where the building is.
        let found = documents.iter().find(|document| {
            document
                .road_address
                .as_ref()
                .is_some_and(|road| sido::written_out(&road.address_name) == site.road_address)
        });
        Ok(Located { point: found.and_then(Document::point) })
    }
}

#[async_trait]
impl Provider<Point, AddressThere> for Kakao {
    fn name(&self) -> &'static str {
        "kakao"
    }

    async fn call(&self, point: &Point) -> Result<AddressThere, ProviderError> {
        let (x, y) = (point.longitude.to_string(), point.latitude.to_string());
        let Envelope { documents, .. } = self.ask("geo/coord2address.json", &[("x", &x), ("y", &y)]).await?;
        let address = documents.first().map(|document| {
            let found_road = document.road_address.is_some();
            let quality = if found_road { MatchQuality::Building } else { MatchQuality::Lot };
            Address { match_quality: Some(quality), ..document.address() }
        });
        Ok(AddressThere { address })
    }
}

/// Every call counts against the quota, so health is a matter of reaching the host.
#[async_trait]
impl Probe for Kakao {
    fn kind(&self) -> ProbeKind {
        ProbeKind::Reach
    }

    async fn probe(&self) -> Result<(), ProviderError> {
        self.0.http.reach(&self.0.base_url).await
    }
}

fn nonsense(why: &str) -> ProviderError {
    ProviderError::Malformed(why.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn answer(status: u16, body: &str) -> Incoming {
        Incoming {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    fn address(document: Value) -> Address {
        serde_json::from_value::<Document>(document).unwrap().address()
    }

    #[test]
    fn statuses_mean_what_kakao_means_by_them() {
        let error = |status| read(&answer(status, r#"{"errorType":"X","message":"…"}"#)).unwrap_err();
        assert_eq!(
            [400, 401, 403, 500].map(|status| error(status).label()),
            ["malformed", "unauthorized", "unauthorized", "unavailable"]
        );
        assert!(matches!(error(429), ProviderError::Throttled { retry_after: Some(QUOTA_BLOCK) }));
        assert_eq!(read(&answer(200, "{}")).unwrap_err().label(), "malformed");
    }

    #[test]
    fn a_region_without_either_half_is_a_name_and_a_place() {
        let region = address(json!({
            "address_name": "서울 중구", "address_type": "REGION", "x": "126.99", "y": "37.56", "address": null, "road_address": null,
        }));
        assert_eq!(region.lot_address.as_deref(), Some("서울특별시 중구"));
        assert_eq!((region.match_quality, region.road_address), (Some(MatchQuality::Region), None));
        assert_eq!(region.coordinates, Point::new(37.56, 126.99));
    }

    proptest! {
        #[test]
        fn any_row_is_read_without_panic(text in ".{0,20}", number in "[0-9.-]{0,12}") {
            let lot = json!({"address_name": text, "region_1depth_name": text, "region_2depth_name": "", "region_3depth_name": text, "b_code": number, "h_code": text});
            let _ = address(json!({"address_name": text, "address_type": text, "x": number, "y": text, "address": lot, "road_address": null}));
        }
    }
}
