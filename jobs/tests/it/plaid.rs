//! Plaid's client against its fake.

use secrecy::SecretString;
use tidemill_jobs::clients::Meaning;
use tidemill_jobs::clients::plaid::{Plaid, is_mutation};
use tidemill_jobs::fakes::plaid::{Bank, start};
use tidemill_jobs::fakes::{Fake, Trouble};

use crate::rig::{Outside, assert_permanent, assert_retryable, noon};

fn token() -> SecretString {
    "access-1".into()
}

async fn fake() -> (Fake<Bank>, Plaid) {
    let fake = start(0, noon()).await.unwrap();
    fake.state.add_item("item-1", "access-1");
    let config = Outside::default().plaid(&fake).config().plaid.unwrap();
    let client = Plaid::new(&config, noon()).unwrap();
    (fake, client)
}

#[tokio::test]
async fn balances_keep_their_digits_and_their_absence() {
    let (_fake, client) = fake().await;
    let accounts = client.balances(&token()).await.unwrap();
    let balances = &accounts[0].balances;
    assert_eq!(balances.current.unwrap().0.to_string(), "110");
    assert_eq!(balances.limit, None);
    assert_eq!(balances.currency().unwrap().code(), "USD");
}

#[tokio::test]
async fn pages_follow_each_other_by_cursor_until_there_is_no_more() {
    let (fake, client) = fake().await;
    fake.state.page_limit(2);
    for n in 0..5 {
        fake.state.book("access-1", &format!("t{n}"), "72.10");
    }
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = client.sync(&token(), cursor.as_deref()).await.unwrap();
        seen.extend(page.added.iter().map(|t| t.transaction_id.clone()));
        cursor = Some(page.next_cursor);
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, ["t0", "t1", "t2", "t3", "t4"]);
    let after = client.sync(&token(), cursor.as_deref()).await.unwrap();
    assert!(after.added.is_empty() && !after.has_more, "an empty last page");
}

#[tokio::test]
async fn a_change_between_two_pages_is_told_apart_from_other_errors() {
    let (fake, client) = fake().await;
    fake.state.page_limit(1);
    fake.state.book("access-1", "t0", "1");
    fake.state.book("access-1", "t1", "2");
    fake.state.book_after_next_page("access-1", "t2", "3");
    let page = client.sync(&token(), None).await.unwrap();
    let error = client.sync(&token(), Some(&page.next_cursor)).await.unwrap_err();
    assert!(is_mutation(&error), "{error:?}");
    assert_retryable(&error);
}

#[tokio::test]
async fn errors_mean_what_plaids_codes_mean() {
    let (fake, client) = fake().await;
    let retryable = [
        ("API_ERROR", "INTERNAL_SERVER_ERROR"),
        ("INSTITUTION_ERROR", "INSTITUTION_DOWN"),
        ("INSTITUTION_ERROR", "INSTITUTION_NOT_RESPONDING"),
        ("ITEM_ERROR", "PRODUCT_NOT_READY"),
        ("RATE_LIMIT_EXCEEDED", "TRANSACTIONS_SYNC_LIMIT"),
    ];
    let user = [
        ("ITEM_ERROR", "ITEM_LOGIN_REQUIRED"),
        ("ITEM_ERROR", "ITEM_LOCKED"),
        ("ITEM_ERROR", "ACCESS_NOT_GRANTED"),
        ("ITEM_ERROR", "USER_PERMISSION_REVOKED"),
        ("ITEM_ERROR", "NO_ACCOUNTS"),
    ];
    let permanent = [("ITEM_ERROR", "ITEM_NOT_SUPPORTED"), ("INVALID_REQUEST", "MISSING_FIELDS")];
    for (cases, meaning) in [
        (&retryable[..], Meaning::Retryable { after: None }),
        (&user[..], Meaning::UserAction),
        (&permanent[..], Meaning::Permanent),
    ] {
        for (kind, code) in cases {
            fake.state.fail("access-1", Some((kind, code)));
            let error = client.sync(&token(), None).await.unwrap_err();
            assert_eq!((error.meaning, error.code.as_deref()), (meaning, Some(*code)));
        }
    }
}

#[tokio::test]
async fn wrong_keys_and_tokens_are_permanent_and_show_no_secret() {
    let (fake, client) = fake().await;
    let error = client.balances(&"access-of-nobody".into()).await.unwrap_err();
    assert_permanent(&error);
    assert_eq!(error.code.as_deref(), Some("INVALID_ACCESS_TOKEN"));
    assert!(!format!("{error:?}").contains("access-of-nobody"));
    let config = Outside::default().plaid(&fake).with("PLAID_SECRET", "wrong-secret").config().plaid.unwrap();
    let stranger = Plaid::new(&config, noon()).unwrap();
    let error = stranger.balances(&token()).await.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("INVALID_API_KEYS"));
    assert!(!format!("{error:?} {stranger:?}").contains("wrong-secret"));
}

#[tokio::test]
async fn the_limit_on_live_balances_is_retryable_and_passes_with_its_minute() {
    let fake_clock = noon();
    let fake = start(0, fake_clock.clone()).await.unwrap();
    fake.state.add_item("item-1", "access-1");
    fake.state.balance_limit(2);
    let config = Outside::default().plaid(&fake).config().plaid.unwrap();
    let client = Plaid::new(&config, fake_clock.clone()).unwrap();
    for _ in 0..2 {
        client.balances(&token()).await.unwrap();
    }
    assert_retryable(&client.balances(&token()).await.unwrap_err());
    fake_clock.advance(std::time::Duration::from_secs(60));
    client.balances(&token()).await.unwrap();
}

#[tokio::test]
async fn trouble_on_the_way_is_retryable_and_a_wrong_shape_is_not() {
    let (fake, client) = fake().await;
    for trouble in [Trouble::Status(502), Trouble::TooManyRequests(None), Trouble::Garbled, Trouble::Truncated] {
        fake.state.moods.script([trouble]);
        assert_retryable(&client.balances(&token()).await.unwrap_err());
    }
    fake.state.moods.script([Trouble::WrongShape, Trouble::Oversized(9 * 1024 * 1024), Trouble::Status(404)]);
    for _ in 0..3 {
        assert_permanent(&client.balances(&token()).await.unwrap_err());
    }
}

#[tokio::test]
async fn a_bank_that_was_restored_from_an_older_state_goes_on_with_newer_cursors() {
    let (fake, client) = fake().await;
    fake.state.book("access-1", "t0", "1");
    let older = fake.state.snapshot();
    fake.state.book("access-1", "t1", "2");
    let cursor = client.sync(&token(), None).await.unwrap().next_cursor;
    fake.state.restore(&older);
    let page = client.sync(&token(), Some(&cursor)).await.unwrap();
    assert!(page.added.is_empty() && !page.has_more, "{page:?}");
    fake.state.book("access-1", "t2", "3");
    let page = client.sync(&token(), Some(&page.next_cursor)).await.unwrap();
    assert_eq!(page.added[0].transaction_id, "t2");
}

#[tokio::test]
async fn a_cursor_of_another_item_is_refused() {
    let (fake, client) = fake().await;
    fake.state.add_item("item-2", "access-2");
    let page = client.sync(&"access-2".into(), None).await.unwrap();
    assert_permanent(&client.sync(&token(), Some(&page.next_cursor)).await.unwrap_err());
}
