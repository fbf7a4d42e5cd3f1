//! `tidemill portal`: link, links, revoke.

use tidemill_jobs::cli::Exit;

use super::House;

#[tokio::test]
async fn a_link_is_made_listed_and_revoked_by_hand() {
    let house = House::new().await;
    let made = house.run("portal link --tenant acme --hours 24").await;
    assert_eq!(made.exit, Exit::Done, "{made:?}");
    let (url, rest) = made.out.split_once('\n').unwrap();
    assert!(url.starts_with("https://hooks.example.com/portal/open/"), "{url}");
    assert!(rest.contains("2026-01-03T03:04:05.000Z (in 1d 0h)") && rest.contains("only time"), "{rest}");
    let other = house.run("portal link --tenant acme --read-only --json").await.json();
    assert_eq!((&other["link"]["read_only"], &other["link"]["made_by"]), (&true.into(), &"cli:mia".into()));

    let listed = house.run("portal links --tenant acme").await.out;
    for part in ["ID", "read-only", "changes", "cli:mia", "never", "ends in 1d 0h", "ends in 1h 0m"] {
        assert!(listed.contains(part), "no `{part}` in\n{listed}");
    }
    assert!(!listed.contains(url.rsplit('/').next().unwrap()));
    let id = other["link"]["id"].as_str().unwrap();
    assert_eq!(house.run(&format!("portal revoke {id}")).await.exit, Exit::Done);
    assert_eq!(house.run(&format!("portal revoke {id}")).await.exit, Exit::Refused);
    assert_eq!(house.run("portal revoke lnk_none").await.exit, Exit::NotFound);
    let all = house.run("portal revoke --tenant acme").await.out;
    assert!(all.contains("1 links of acme"), "{all}");
    assert!(house.run("portal links --tenant acme").await.out.contains("revoked"));
    assert!(house.run("portal links --tenant nobody").await.out.contains("tidemill portal link"));
}

#[tokio::test]
async fn a_link_for_too_long_or_for_nobody_is_refused_with_what_is_allowed() {
    let house = House::new().await;
    for (line, part) in [
        ("portal link --tenant acme --hours 169", "1 to 168"),
        ("portal link --tenant acme --hours 0", "1 to 168"),
        ("portal link --tenant a/b", "a-z A-Z 0-9"),
        ("portal link", "--tenant"),
        ("portal revoke", "--tenant"),
        ("portal revoke lnk_1 --tenant acme", "--tenant"),
    ] {
        let ended = house.run(line).await;
        assert_eq!(ended.exit, Exit::Usage, "{line}: {ended:?}");
        assert!(ended.complaint.contains(part), "{line}: {ended:?}");
    }
}
