//! Made-up addresses, for development. The table is in the README: the keyword decides.

use async_trait::async_trait;
use ieum::config::MockSettings;
use ieum::mock::Mock as Behaviour;
use ieum::provider::{Provider, ProviderError};

use crate::address::{
    Address, AddressPage, AddressQuery, AddressThere, BuildingNumber, Codes, Located, MatchQuality, Point, Region, Site,
};

/// How many addresses every keyword finds.
const FOUND: u32 = 3;

/// A provider that answers from the keyword itself.
#[derive(Clone, Copy, Debug)]
pub struct Mock(Behaviour);

impl Mock {
    /// A mock that is as slow and as unreliable as `settings` say.
    pub fn new(settings: MockSettings) -> Self {
        Self(Behaviour::new(settings))
    }
}

fn made_up(number: u32) -> Address {
    let text = |text: &str| Some(text.to_owned());
    Address {
        postal_code: text("04524"),
        road_address: Some(format!("서울특별시 중구 세종대로 {number}")),
        lot_address: Some(format!("서울특별시 중구 태평로1가 {number}")),
        extra: text("(태평로1가)"),
        building_name: Some(format!("모의빌딩 {number}")),
        apartment: Some(false),
        english_address: Some(format!("{number} Sejong-daero, Jung-gu, Seoul")),
        building_number: Some(BuildingNumber { underground: false, main: number, sub: 0 }),
        region: Region {
            sido: text("서울특별시"),
            sigungu: text("중구"),
            eupmyeondong: text("태평로1가"),
            ri: None,
            road: text("세종대로"),
        },
        codes: Codes {
            legal_dong: text("1114010300"),
            sigungu: text("11140"),
            road: text("111402005001"),
            ..Codes::default()
        },
        match_quality: Some(MatchQuality::Building),
        ..Address::default()
    }
}

#[async_trait]
impl Provider<AddressQuery, AddressPage> for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn call(&self, query: &AddressQuery) -> Result<AddressPage, ProviderError> {
        self.0.act().await?;
        let keyword = query.keyword.as_str();
        if keyword.contains("장애") {
            return Err(ProviderError::Unavailable { status: 503 });
        }
        if keyword.contains("없는주소") {
            return Ok(AddressPage::default());
        }
        let before = query.size.saturating_mul(query.page - 1);
        let here = (before..FOUND).take(query.size as usize).map(|place| made_up(110 + place));
        Ok(AddressPage::of(here, FOUND.into()))
    }
}

#[async_trait]
impl Provider<Point, AddressThere> for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn call(&self, _: &Point) -> Result<AddressThere, ProviderError> {
        self.0.act().await?;
        Ok(AddressThere { address: Some(made_up(110)) })
    }
}

#[async_trait]
impl Provider<Site, Located> for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn call(&self, _: &Site) -> Result<Located, ProviderError> {
        self.0.act().await?;
        Ok(Located { point: Point::new(37.566_499_3, 126.977_998_1) })
    }
}
