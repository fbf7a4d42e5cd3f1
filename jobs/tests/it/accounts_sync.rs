//! `accounts.sync`: balances and bookings, the rules of the cursor, and connections that need their user.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tidemill_jobs::fakes::plaid::{Bank, start};
use tidemill_jobs::fakes::{Fake, Trouble};
use tidemill_jobs::handlers::accounts_sync::{AccountsSync, Report, sync};
use tidemill_jobs::store::accounts::{self, Applied, Change, Item, ItemStatus, NewItem};

use crate::rig::{Outside, Rig, decided, noon};

const TOKEN: &str = "access-1";

struct Story {
    bank: Fake<Bank>,
    rig: Rig,
}

impl Story {
    async fn begin() -> Self {
        let clock = noon();
        let bank = start(0, clock.clone()).await.unwrap();
        bank.state.add_item("item-1", TOKEN);
        let rig = Rig::new(clock, Outside::default().plaid(&bank)).await;
        let story = Self { bank, rig };
        story.connect("item-1", "acme", TOKEN).await.unwrap();
        story
    }

    async fn connect(&self, item_id: &str, tenant: &str, token: &str) -> anyhow::Result<()> {
        let app = &self.rig.app;
        let sealer = &app.plaid.as_ref().unwrap().sealer;
        let token: SecretString = token.into();
        let item = NewItem { item_id, tenant, institution: Some("ins_3"), token: &token };
        accounts::add_item(&app.db, sealer, &app.entropy, &item, self.rig.clock.now()).await
    }

    async fn sync(&self) -> Result<Report, (&'static str, String)> {
        sync(&self.rig.app, "item-1", Some("acme"), self.rig.clock.now()).await.map_err(decided)
    }

    async fn item(&self) -> Item {
        accounts::item(&self.rig.app.db, "item-1").await.unwrap().unwrap()
    }

    async fn bookings(&self) -> Vec<(String, i64)> {
        let rows = accounts::bookings(&self.rig.app.db, "item-1", "", 1_000).await.unwrap();
        rows.into_iter().map(|b| (b.transaction_id, b.amount_minor)).collect()
    }
}

fn owned(bookings: &[(&str, i64)]) -> Vec<(String, i64)> {
    bookings.iter().map(|(id, minor)| ((*id).to_owned(), *minor)).collect()
}

#[tokio::test]
async fn a_sync_keeps_balances_and_bookings_in_minor_units() {
    let story = Story::begin().await;
    story.bank.state.book(TOKEN, "t1", "72.1");
    story.bank.state.book(TOKEN, "t2", "-1000");
    let report = story.sync().await.unwrap();
    assert_eq!(report, Report { accounts: 1, upserted: 2, removed: 0, ready: true });
    assert_eq!(story.bookings().await, owned(&[("t1", 7_210), ("t2", -100_000)]));
    let accounts = accounts::accounts(&story.rig.app.db, "item-1").await.unwrap();
    assert_eq!((accounts[0].current_minor, accounts[0].available_minor), (Some(11_000), Some(10_000)));
    assert_eq!((accounts[0].currency.as_str(), accounts[0].limit_minor), ("USD", None));
}

#[tokio::test]
async fn the_next_sync_begins_where_the_last_one_ended() {
    let story = Story::begin().await;
    story.bank.state.book(TOKEN, "t1", "1");
    story.bank.state.book(TOKEN, "t2", "2");
    story.sync().await.unwrap();
    story.bank.state.change(TOKEN, "t1", "1.50");
    story.bank.state.remove(TOKEN, "t2");
    let report = story.sync().await.unwrap();
    assert_eq!((report.upserted, report.removed), (1, 1));
    assert_eq!(story.bookings().await, owned(&[("t1", 150)]));
    assert_eq!(story.rig.count("bank_transactions").await, 2, "a removed booking stays, marked");
    let again = story.sync().await.unwrap();
    assert_eq!((again.upserted, again.removed), (0, 0));
}

#[tokio::test]
async fn a_failure_between_pages_loses_nothing_and_repeats_nothing() {
    let story = Story::begin().await;
    story.bank.state.page_limit(2);
    for n in 0..7 {
        story.bank.state.book(TOKEN, &format!("t{n}"), &format!("{n}.25"));
    }
    // Balances, then pages 1 and 2 well, then the connection breaks: at each later page once.
    for good_pages in 0..4 {
        let well = std::iter::repeat_n(Trouble::None, 1 + good_pages);
        story.bank.state.moods.script(well.chain([Trouble::Truncated]));
        let (word, _) = story.sync().await.unwrap_err();
        assert_eq!(word, "retry");
        assert_eq!((story.item().await.cursor, story.bookings().await), (None, Vec::new()), "all or nothing");
    }
    assert_eq!(story.sync().await.unwrap().upserted, 7);
    let expected: Vec<(String, i64)> = (0..7).map(|n| (format!("t{n}"), n * 100 + 25)).collect();
    assert_eq!(story.bookings().await, expected);
    assert_eq!(story.rig.count("bank_transactions").await, 7);
}

#[tokio::test]
async fn a_change_between_two_pages_starts_the_loop_again_from_its_first_cursor() {
    let story = Story::begin().await;
    story.bank.state.book(TOKEN, "t0", "1");
    story.sync().await.unwrap();
    let first = story.item().await.cursor.unwrap();
    story.bank.state.page_limit(1);
    for n in 1..=3 {
        story.bank.state.book(TOKEN, &format!("t{n}"), "1");
    }
    story.bank.state.book_after_next_page(TOKEN, "t4", "1");
    let report = story.sync().await.unwrap();
    assert_eq!(report.upserted, 4, "the pages of the broken loop are not counted");
    let cursors = story.bank.state.cursors(TOKEN);
    assert_eq!(cursors.iter().filter(|c| **c == first).count(), 2, "{cursors:?}");
    assert_eq!(story.bookings().await.len(), 5);
}

#[tokio::test]
async fn a_loop_that_is_broken_again_and_again_gives_up_and_is_tried_later() {
    let story = Story::begin().await;
    story.bank.state.page_limit(1);
    for n in 0..10 {
        story.bank.state.book(TOKEN, &format!("u{n}"), "1");
    }
    story.bank.state.mutate_always(TOKEN, true);
    let (word, text) = story.sync().await.unwrap_err();
    assert!(word == "retry" && text.contains("MUTATION_DURING_PAGINATION"), "{word}: {text}");
    assert_eq!(story.bank.state.cursors(TOKEN).iter().filter(|c| c.is_empty()).count(), 4, "bounded restarts");
    assert_eq!(story.item().await.cursor, None);
}

#[tokio::test]
async fn an_empty_cursor_is_not_kept_and_the_connection_is_not_ready() {
    let story = Story::begin().await;
    story.bank.state.preparing(TOKEN, true);
    let report = story.sync().await.unwrap();
    assert!(!report.ready && report.accounts == 1);
    assert_eq!(story.item().await.cursor, None);
    story.bank.state.preparing(TOKEN, false);
    story.bank.state.book(TOKEN, "t1", "1");
    assert_eq!(story.sync().await.unwrap().upserted, 1);
}

#[tokio::test]
async fn a_writer_whose_cursor_was_overtaken_changes_nothing() {
    let story = Story::begin().await;
    story.bank.state.book(TOKEN, "t1", "1");
    story.sync().await.unwrap();
    let now = story.rig.clock.now();
    let stale = [Change::Remove("t1".to_owned())];
    let moved = accounts::apply(&story.rig.app.db, "item-1", (None, Some("stale")), &stale, now).await.unwrap();
    assert_eq!(moved, Applied::Overtaken);
    assert_eq!(story.bookings().await, owned(&[("t1", 100)]));
    assert_ne!(story.item().await.cursor.as_deref(), Some("stale"));
}

#[tokio::test]
async fn a_connection_that_needs_its_user_is_marked_and_its_job_cancelled() {
    let cases = [
        ("ITEM_LOGIN_REQUIRED", ItemStatus::LoginRequired),
        ("ITEM_LOCKED", ItemStatus::Locked),
        ("USER_PERMISSION_REVOKED", ItemStatus::Revoked),
    ];
    for (code, status) in cases {
        let story = Story::begin().await;
        story.bank.state.fail(TOKEN, Some(("ITEM_ERROR", code)));
        let (word, text) = story.sync().await.unwrap_err();
        assert!(word == "cancelled" && text.contains(code), "{word}: {text}");
        assert_eq!(story.item().await.status, status);
        let active = accounts::active_items(&story.rig.app.db, "", 10).await.unwrap();
        assert!(active.is_empty(), "it is not scheduled any more");

        story.bank.state.fail(TOKEN, None);
        story.sync().await.unwrap();
        assert_eq!(story.item().await.status, ItemStatus::Active, "on demand it heals itself");
    }
}

#[tokio::test]
async fn a_token_that_plaid_does_not_know_breaks_the_connection_and_wrong_keys_do_not() {
    let story = Story::begin().await;
    story.connect("item-1", "acme", "access-of-nobody").await.unwrap();
    let (word, _) = story.sync().await.unwrap_err();
    assert_eq!((word, story.item().await.status), ("dead", ItemStatus::Broken));

    let clock = noon();
    let rig = Rig::new(clock, Outside::default().plaid(&story.bank).with("PLAID_SECRET", "wrong")).await;
    let story = Story { bank: story.bank, rig };
    story.connect("item-1", "acme", TOKEN).await.unwrap();
    let (word, text) = story.sync().await.unwrap_err();
    assert!(word == "dead" && text.contains("INVALID_API_KEYS"), "{word}: {text}");
    assert_eq!(story.item().await.status, ItemStatus::Active, "our mistake, not the connection's");
}

#[tokio::test]
async fn the_access_token_is_nowhere_in_the_open() {
    let story = Story::begin().await;
    story.bank.state.fail(TOKEN, Some(("ITEM_ERROR", "ITEM_LOGIN_REQUIRED")));
    let (_, text) = story.sync().await.unwrap_err();
    assert!(!text.contains(TOKEN), "{text}");
    let spec = AccountsSync::on_demand("item-1", "acme", Duration::from_secs(30)).unwrap();
    assert_eq!(&*spec.payload, r#"{"item":"item-1"}"#);
    assert!(!format!("{:?}", story.item().await).contains(TOKEN));
    story.rig.app.db.close().await;
    for file in std::fs::read_dir(story.rig.dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes()), "in the database's files");
    }
}

#[tokio::test]
async fn a_connection_of_another_tenant_is_out_of_reach() {
    let story = Story::begin().await;
    let decision = sync(&story.rig.app, "item-1", Some("other"), story.rig.clock.now()).await.map_err(decided);
    assert_eq!(decision.unwrap_err().0, "dead");
    let error = story.connect("item-1", "other", "access-2").await.unwrap_err();
    assert!(error.to_string().contains("another tenant"), "{error}");
    let decision = sync(&story.rig.app, "item-9", Some("acme"), story.rig.clock.now()).await.map_err(decided);
    assert_eq!(decision.unwrap_err().0, "cancelled");
}

#[tokio::test]
async fn an_amount_that_is_no_whole_number_of_cents_is_refused_and_nothing_is_kept() {
    let story = Story::begin().await;
    story.bank.state.book(TOKEN, "t1", "1");
    story.bank.state.book(TOKEN, "t2", "0.105");
    let (word, text) = story.sync().await.unwrap_err();
    assert!(word == "dead" && text.contains("0.105 USD"), "{word}: {text}");
    assert!(story.bookings().await.is_empty());
}

#[tokio::test]
async fn balances_may_be_finer_than_cents_and_without_one_side() {
    let story = Story::begin().await;
    let account = |balances: serde_json::Value| {
        json!({ "account_id": "a1", "mask": null, "name": "401k", "type": "investment", "subtype": "401k",
                "balances": balances })
    };
    let fine = json!({ "available": null, "current": 1, "limit": null, "iso_currency_code": "USD",
                       "unofficial_currency_code": null });
    let text = fine.to_string().replace("\"current\":1", "\"current\":23631.9805");
    story.bank.state.set_accounts(TOKEN, vec![account(serde_json::from_str(&text).unwrap())]);
    story.sync().await.unwrap();
    let rows = accounts::accounts(&story.rig.app.db, "item-1").await.unwrap();
    assert_eq!((rows[0].current_minor, rows[0].available_minor), (Some(2_363_198), None));
}
