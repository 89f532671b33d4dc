use super::*;
use crate::model::time::{HOUR_MS, TimeWindow};
use crate::report::Renderer;
use crate::report::render::tests::data;

fn week(number: i64, usd: &str) -> ReportData {
    let mut week = data("chat");
    week.publication = u64::try_from(number).unwrap();
    week.window = TimeWindow::new(number * 7 * DAY_MS, (number + 1) * 7 * DAY_MS);
    week.classes[0].cost_usd = Some("700".parse().unwrap());
    week.classes[0].ms = 14 * HOUR_MS;
    week.findings.retain(|finding| finding.status == "alarm");
    week.findings.truncate(1);
    week.findings[0].net_monthly_usd = Some(usd.parse().unwrap());
    week.findings[0].net_window_usd = Some(usd.parse().unwrap());
    week
}

#[test]
fn two_weeks_are_told_apart_by_what_moved() {
    let (one, mut two) = (week(1, "1000"), week(2, "1500"));
    two.classes[0].cost_usd = Some("1400".parse().unwrap());
    let both = Comparison::new(&one, &two);
    assert!(both.notes.is_empty(), "{:?}", both.notes);
    assert_eq!(both.money[0].before, "$100");
    assert_eq!(both.money[0].after, "$200");
    assert_eq!(both.money[0].change, "+$100");
    assert_eq!(both.changed.len(), 1);
    assert_eq!(both.changed[0].change, "+$500");
    assert!(both.appeared.is_empty() && both.gone.is_empty());
    let dark = both.classes.iter().find(|row| row.name == "dark").unwrap();
    assert_eq!((dark.before.as_str(), dark.change.as_str()), ("2.0", "0.0"));
}

#[test]
fn windows_of_two_lengths_are_compared_by_the_day() {
    let (one, mut two) = (week(1, "1000"), week(2, "1000"));
    two.window = TimeWindow::new(14 * DAY_MS, 28 * DAY_MS);
    two.classes[0].cost_usd = Some("1400".parse().unwrap());
    let both = Comparison::new(&one, &two);
    assert!(both.notes[0].contains("7 and 14 days"), "{:?}", both.notes);
    assert_eq!(both.money[0].change, "±0");
}

#[test]
fn what_is_gone_says_what_it_is_now() {
    let (one, mut two) = (week(1, "1000"), week(2, "1000"));
    two.findings[0].status = "undetermined".into();
    let both = Comparison::new(&one, &two);
    assert_eq!(both.gone[0].after, "undetermined");
    assert_eq!(both.gone[0].change, "−$1,000");
    two.findings[0].status = "alarm".into();
    two.findings[0].accepted = Some("ann, until 2027".into());
    assert_eq!(Comparison::new(&one, &two).gone[0].after, "accepted");
    two.findings.clear();
    let both = Comparison::new(&one, &two);
    assert_eq!(both.gone[0].after, "not found");
    let back = Comparison::new(&two, &one);
    assert_eq!(back.appeared[0].before, "not found");
    assert_eq!(back.appeared[0].change, "+$1,000");
}

#[test]
fn hostile_names_stay_text_in_both_forms() {
    let hostile = "<script>alert(1)</script>|`x`";
    let mut two = week(2, "1000");
    two.findings[0].title = hostile.into();
    let both = Comparison::new(&week(1, "500"), &two);
    let renderer = Renderer::new(None).unwrap();
    let html = renderer.compare_html(&both).unwrap();
    assert!(!html.contains("<script"), "{html}");
    assert!(html.contains("&lt;script&gt;"));
    let markdown = renderer.compare_markdown(&both).unwrap();
    assert!(
        !markdown.contains("<script") && markdown.contains("\\|\\`x\\`"),
        "{markdown}"
    );
}
