//! Stripe's client against its fake.

use std::time::Duration;

use tidemill_jobs::clients::Meaning;
use tidemill_jobs::clients::stripe::{API_VERSION, Stripe};
use tidemill_jobs::fakes::stripe::{Account, start};
use tidemill_jobs::fakes::{Fake, Trouble};

use crate::rig::{NOON, Outside, assert_permanent, assert_retryable, noon};

async fn fake() -> (Fake<Account>, Stripe) {
    let fake = start(0, noon()).await.unwrap();
    let config = Outside::default().stripe(&fake).config().stripe.unwrap();
    let client = Stripe::new(&config, noon()).unwrap();
    (fake, client)
}

#[tokio::test]
async fn all_subscriptions_are_listed_page_by_page_newest_first_cancelled_ones_too() {
    let (fake, client) = fake().await;
    let mut made: Vec<String> = (0..250).map(|n| fake.state.subscribe(&format!("cus_{n}"), 2_000).object_id).collect();
    fake.state.cancel(&made[0]);
    let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = client.subscriptions(after.as_deref()).await.unwrap();
        pages += 1;
        seen.extend(page.data.iter().map(|s| s.id.clone()));
        after = seen.last().cloned();
        if !page.has_more {
            break;
        }
    }
    made.reverse();
    assert_eq!((seen, pages), (made, 3));
    assert_eq!(fake.state.versions(), [API_VERSION]);
}

#[tokio::test]
async fn invoices_are_listed_by_their_window_which_includes_its_start_and_not_its_end() {
    let clock = noon();
    let fake = start(0, clock.clone()).await.unwrap();
    let config = Outside::default().stripe(&fake).config().stripe.unwrap();
    let client = Stripe::new(&config, clock.clone()).unwrap();
    let subscription = fake.state.subscribe("cus_1", 2_000).object_id;
    let mut made = Vec::new();
    for _ in 0..3 {
        made.push(fake.state.bill_in_vain(&subscription).object_id);
        clock.advance(Duration::from_secs(60));
    }
    let (from, until) = (NOON.after(Duration::from_secs(60)), NOON.after(Duration::from_secs(120)));
    let page = client.invoices(from, until, None).await.unwrap();
    assert_eq!(page.data.iter().map(|i| i.id.clone()).collect::<Vec<_>>(), [made[1].clone()]);
    assert_eq!((page.data[0].amount_due, page.data[0].currency.as_str()), (2_000, "usd"));
    assert_eq!(page.data[0].subscription(), Some(subscription.as_str()));
}

#[tokio::test]
async fn a_wrong_key_is_permanent_and_not_repeated_in_the_error() {
    let (fake, _) = fake().await;
    let config = Outside::default().stripe(&fake).with("STRIPE_SECRET_KEY", "sk_test_mistyped").config().stripe;
    let client = Stripe::new(&config.unwrap(), noon()).unwrap();
    let error = client.subscriptions(None).await.unwrap_err();
    assert_permanent(&error);
    assert_eq!((error.status, error.code.as_deref()), (Some(401), Some("authentication_error")));
    assert!(!format!("{error:?} {error} {client:?}").contains("mistyped"), "{error}");
}

#[tokio::test]
async fn stripes_own_word_on_retrying_is_above_the_status() {
    let (fake, client) = fake().await;
    let cases = [
        (Trouble::StatusWith(500, "Stripe-Should-Retry", "false"), Meaning::Permanent),
        (Trouble::StatusWith(400, "Stripe-Should-Retry", "true"), Meaning::Retryable { after: None }),
        (Trouble::StatusWith(503, "Retry-After", "3"), Meaning::Retryable { after: Some(Duration::from_secs(3)) }),
        (Trouble::TooManyRequests(None), Meaning::Retryable { after: None }),
        (Trouble::Status(409), Meaning::Retryable { after: None }),
        (Trouble::Status(402), Meaning::Permanent),
        (Trouble::Status(403), Meaning::Permanent),
    ];
    for (trouble, meaning) in cases {
        fake.state.moods.script([trouble.clone()]);
        assert_eq!(client.subscriptions(None).await.unwrap_err().meaning, meaning, "{trouble:?}");
    }
}

#[tokio::test]
async fn broken_and_oversized_bodies_are_refused() {
    let (fake, client) = fake().await;
    fake.state.subscribe("cus_1", 2_000);
    for trouble in [Trouble::Garbled, Trouble::Truncated] {
        fake.state.moods.script([trouble]);
        assert_retryable(&client.subscriptions(None).await.unwrap_err());
    }
    for trouble in [Trouble::WrongShape, Trouble::Oversized(9 * 1024 * 1024)] {
        fake.state.moods.script([trouble]);
        assert_permanent(&client.subscriptions(None).await.unwrap_err());
    }
}

#[tokio::test]
async fn a_page_after_an_object_that_is_not_there_is_refused() {
    let (_fake, client) = fake().await;
    let error = client.subscriptions(Some("sub_of_nobody")).await.unwrap_err();
    assert_permanent(&error);
    assert_eq!(error.code.as_deref(), Some("resource_missing"));
}
