//! Declared event types: listed, and kept to.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::House;

const PATH: &str = "/api/v1/event-types/invoice.paid";

fn declaration() -> Value {
    json!({
        "description": "An invoice was paid in full.",
        "schema": {
            "type": "object",
            "required": ["invoice", "amount_minor", "currency"],
            "properties": {
                "invoice": { "type": "string", "minLength": 1, "maxLength": 64 },
                "amount_minor": { "type": "integer", "minimum": 0, "maximum": 9007199254740993u64 },
                "currency": { "enum": ["EUR", "USD"] },
                "lines": { "type": "array", "maxItems": 2, "items": { "type": "object", "required": ["sku"] } },
                "paid_by": { "anyOf": [{ "type": "null" }, { "const": "card" }] },
            },
            "additionalProperties": false,
        },
        "example": { "invoice": "in_1", "amount_minor": 1200, "currency": "EUR" },
    })
}

fn event(payload: &Value) -> Option<Value> {
    Some(json!({ "id": format!("e{}", payload.to_string().len()), "event_type": "invoice.paid", "payload": payload }))
}

#[tokio::test]
async fn a_declared_type_is_listed_with_schema_and_example_and_declared_again_without_a_change() {
    let house = House::new().await;
    let made = house.ask("PUT", PATH, Some(declaration())).await;
    assert_eq!(made.status, StatusCode::OK, "{made:?}");
    house.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(house.ask("PUT", PATH, Some(declaration())).await.json(), made.json(), "the same again changes nothing");
    let listed = house.ask_as(&house.viewer, "GET", "/api/v1/event-types", None).await.json();
    assert_eq!(listed["items"], json!([made.json()]));
    assert_eq!(made.json()["example"], declaration()["example"]);
    assert_eq!(house.ask("DELETE", PATH, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.ask("GET", PATH, None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_event_that_does_not_fit_is_refused_with_the_place_where_it_does_not() {
    let house = House::new().await;
    house.ask("PUT", PATH, Some(declaration())).await;
    let good = json!({ "invoice": "in_1", "amount_minor": 12.0, "currency": "EUR", "paid_by": "card", "lines": [{ "sku": 1 }] });
    assert_eq!(house.ask("POST", "/api/v1/events", event(&good)).await.status, StatusCode::ACCEPTED);
    let exact: Value = serde_json::from_str(r#"{"amount_minor": 9007199254740994}"#).unwrap();
    let cases = [
        (json!({ "amount_minor": Value::Null }), "/amount_minor"),
        (json!({ "amount_minor": 1.5 }), "/amount_minor"),
        (json!({ "amount_minor": -1 }), "/amount_minor"),
        (exact, "/amount_minor"),
        (json!({ "invoice": "" }), "/invoice"),
        (json!({ "invoice": "é".repeat(65) }), "/invoice"),
        (json!({ "currency": "eur" }), "/currency"),
        (json!({ "lines": [{ "sku": 1 }, {}] }), "/lines/1"),
        (json!({ "lines": [{ "sku": 1 }, { "sku": 1 }, { "sku": 1 }] }), "/lines"),
        (json!({ "paid_by": "cash" }), "/paid_by"),
        (json!({ "extra": 1 }), "/extra"),
    ];
    for (change, place) in cases {
        let mut payload = good.clone();
        payload.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let refused = house.ask("POST", "/api/v1/events", event(&payload)).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{payload}");
        assert!(
            refused.json()["detail"].as_str().unwrap().contains(&format!("at {place}:")),
            "{place}: {}",
            refused.text
        );
        assert_eq!(refused.json()["field"], "payload");
    }
    for payload in [json!({ "amount_minor": 1, "currency": "EUR" }), json!([]), json!(null)] {
        let refused = house.ask("POST", "/api/v1/events", event(&payload)).await;
        assert!(refused.json()["detail"].as_str().unwrap().contains("at the whole"), "{}", refused.text);
    }
    // Nobody has declared this one.
    let free = json!({ "id": "e", "event_type": "invoice.sent", "payload": 5 });
    assert_eq!(house.ask("POST", "/api/v1/events", Some(free)).await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_schema_that_could_not_be_kept_and_an_example_that_does_not_fit_are_refused() {
    let house = House::new().await;
    let deep = (0..40).fold(json!({}), |inner, _| json!({ "items": inner }));
    let schemas = [
        (json!({ "type": "text" }), "/type"),
        (json!({ "properties": { "a": { "pattern": "^x" } } }), "/properties/a/pattern"),
        (json!({ "$ref": "http://example.com/" }), "/$ref"),
        (json!({ "minLength": -1 }), "/minLength"),
        (json!({ "minimum": "1" }), "/minimum"),
        (json!({ "enum": [] }), "/enum"),
        (json!({ "anyOf": [5] }), "/anyOf/0"),
        (json!({ "required": "a" }), "/required"),
        (json!(5), "the whole"),
        (deep, "items"),
    ];
    for (schema, place) in schemas {
        let refused = house.ask("PUT", PATH, Some(json!({ "description": "x", "schema": schema }))).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{schema}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(place), "{place}: {}", refused.text);
    }
    let mut wrong = declaration();
    wrong["example"]["currency"] = json!("GBP");
    let refused = house.ask("PUT", PATH, Some(wrong)).await.json();
    assert_eq!(refused["field"], "example", "{refused}");
    let refused = house.ask("PUT", "/api/v1/event-types/endpoint.disabled", Some(declaration())).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let ours = json!({ "id": "e", "event_type": "endpoint.disabled", "payload": {} });
    let refused = house.ask("POST", "/api/v1/events", Some(ours)).await;
    assert_eq!((refused.status, &refused.json()["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("event_type")));
}
