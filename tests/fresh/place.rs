//! A service with a mirror, on a vault and a store that do as they are told.

use std::{sync::Arc, time::Duration};

use axum::http::{Method, StatusCode};
use gatemint::{
    domain::{
        Policy, Refusal, Secret, Service,
        access::{self, Identity},
        account::manage::{self as accounts, AccountPatch},
        birth,
        fresh_token::{
            self,
            mirror::{self, Outcome, Run, Timetable},
        },
    },
    http::Options,
    store::Store,
    vault::MemoryVault,
};

use super::faulty::{FaultyVault, StoppedStore, Stops};
use crate::{
    store::conformance::{Backend, Bed},
    support::{Answer, ISSUER, TestService, asking::claims, watched::WatchedStore},
};

/// The service.
pub(super) struct Place {
    pub(super) test: TestService,
    pub(super) vault: Arc<FaultyVault>,
    pub(super) stops: Arc<Stops>,
    /// The process that mirrors.
    pub(super) runner: Arc<Service>,
    /// What the store stands on.
    bed: Option<Bed>,
}

impl Place {
    /// On an empty store of a kind.
    pub(super) async fn on<B: Backend>() -> Self {
        let bed = B::fresh().await;
        let mut place = Self::at(bed.store.clone()).await;
        place.bed = Some(bed);
        place
    }

    /// On a store that is empty.
    pub(super) async fn at(store: Arc<dyn Store>) -> Self {
        let vault = Arc::new(FaultyVault::around(Arc::new(MemoryVault::new())));
        let stops = vault.stops.clone();
        let store = WatchedStore::around(Arc::new(StoppedStore { inner: store, stops: stops.clone() }));
        let test = TestService::unfilled(store, vault.clone(), Policy::new(ISSUER), &Options::default());
        vault.keeps_time_by(&test.clock);
        birth::make_keys(&test.service).await.unwrap();
        let runner = test.beside(Policy::new(ISSUER));
        Self { test, vault, stops, runner, bed: None }
    }
    /// Makes a user.
    pub(super) async fn user(mut self, name: &str, roles: &[&str]) -> Self {
        self.test = self.test.user(name, roles).await;
        self
    }

    /// Changes a user as an operator.
    pub(super) async fn patch(&self, name: &str, patch: AccountPatch) {
        accounts::update(&self.test.service, self.test.service.now(), name, patch, "test").await.unwrap();
    }

    pub(super) async fn mirror(&self, name: &str, mirror: bool) {
        self.patch(name, AccountPatch { mirror_token: Some(mirror), ..AccountPatch::default() }).await;
    }

    pub(super) async fn enable(&self, name: &str, enabled: bool) {
        self.patch(name, AccountPatch { enabled: Some(enabled), ..AccountPatch::default() }).await;
    }

    pub(super) fn later(&self, by: Duration) {
        self.test.clock.advance(by);
    }

    /// One run.
    pub(super) async fn try_run(&self) -> Result<Run, Refusal> {
        mirror::refresh_secrets(&self.runner).await
    }

    /// One run that nothing keeps from its work.
    pub(super) async fn run(&self) -> Run {
        let run = self.try_run().await.unwrap();
        assert_eq!(run.outcome, Outcome::Done, "{run:?}");
        run
    }

    /// One run by another timetable.
    pub(super) async fn run_by(&self, timetable: Timetable) -> Run {
        mirror::refresh_secrets_by(&self.runner, &timetable).await.unwrap()
    }

    /// How much life is left in what is mirrored in a namespace; none if there is nothing.
    pub(super) async fn life(&self, namespace: &str) -> Option<u64> {
        let token = self.vault.reads(namespace).await?;
        Some(claims(&token)["exp"].as_u64().unwrap().saturating_sub(self.test.service.now().0))
    }

    /// Whether the service takes a token.
    pub(super) async fn is_good(&self, token: &str) -> bool {
        let me = self.test.v1(Method::GET, "/v1/me", token, None).await;
        assert!([StatusCode::OK, StatusCode::UNAUTHORIZED].contains(&me.status), "{}", me.text);
        me.status == StatusCode::OK
    }

    /// Somebody, by an access token.
    pub(super) async fn identity(&self, access: &str) -> Identity {
        let token = Some(Secret::new(access.to_owned()));
        access::identity(&self.test.service, self.test.service.now(), token).await.unwrap()
    }

    /// The fresh token of a namespace, signed for whoever asks; or why not.
    pub(super) async fn read(&self, by: &Identity, namespace: &str) -> Result<String, Refusal> {
        let shown = fresh_token::read(&self.test.service, self.test.service.now(), by, namespace).await?;
        Ok(shown.token.expose().clone())
    }

    /// An account's fresh tokens in the list of live tokens: their ids.
    pub(super) async fn listed(&self, access: &str, account: &str) -> Vec<String> {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/tokens?account={account}&limit=99{cursor}");
            let page: Answer = self.test.v1(Method::GET, &path, access, None).await;
            assert_eq!(page.status, StatusCode::OK, "{}", page.text);
            let fresh = page.json["items"].as_array().unwrap().iter().filter(|item| item["kind"] == "fresh");
            ids.extend(fresh.map(|item| item["id"].as_str().unwrap().to_owned()));
            match page.json["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return ids,
            }
        }
    }
}
