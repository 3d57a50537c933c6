//! Entries of a timeline as rows. Pure: must not know clocks nor terminals.

use gantry_client::v1::{self, timeline_entry::Detail};

use crate::render::text::{self, Paint};

/// Headings of the table.
pub(crate) const HEADINGS: [&str; 4] = ["TIME", "WHAT", "WHO", "MESSAGE"];
/// Column widths, which fit most rows.
pub(crate) const WIDTHS: [usize; 4] = [20, 9, 18, 0];

/// Returns a row, without characters that could control a terminal.
pub(crate) fn row(entry: &v1::TimelineEntry) -> Vec<String> {
    let message = match entry.object.split_once('/') {
        // Most entries are about the app's Deployment, so its name is left out.
        Some(("deployment.apps", _)) | None => entry.message.clone(),
        Some(_) => format!("{}: {}", entry.object, entry.message),
    };
    let time = entry.time.as_ref().map_or_else(String::new, text::instant);
    let row = [time, what(entry).to_owned(), entry.actor.clone(), message];
    row.iter().map(|cell| text::line(cell)).collect()
}

/// Returns a row for a period of which entries are missing.
pub(crate) fn gap(gap: &v1::Gap) -> Vec<String> {
    let time = |time: Option<&prost_types::Timestamp>| time.map_or_else(String::new, text::instant);
    let message = format!("until {}: {}", time(gap.end_time.as_ref()), gap.message);
    vec![time(gap.start_time.as_ref()), "GAP".to_owned(), String::new(), text::line(&message)]
}

fn what(entry: &v1::TimelineEntry) -> &'static str {
    match &entry.detail {
        Some(Detail::Rollout(_)) => "ROLLOUT",
        Some(Detail::Problem(_)) => "PROBLEM",
        Some(Detail::Scaling(_)) => "SCALING",
        Some(Detail::KubernetesEvent(event)) if event.r#type == "Warning" => "WARNING",
        Some(Detail::KubernetesEvent(_)) => "EVENT",
        Some(Detail::Call(call)) if call.code != 0 => "REFUSED",
        Some(Detail::Call(_)) => "CALL",
        Some(Detail::Endpoints(_)) => "ENDPOINTS",
        None => "",
    }
}

/// Colours the kinds of entries that deserve a look.
pub(crate) fn painted(column: usize, cell: &str, paint: Paint) -> String {
    match (column, cell) {
        (1, "PROBLEM") => paint.bad(cell),
        (1, "WARNING" | "REFUSED" | "GAP") => paint.warn(cell),
        (1, "ROLLOUT") => paint.bold(cell),
        _ => cell.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_row_that_steers_no_terminal() {
        let event = v1::KubernetesEvent { r#type: "Warning".into(), ..Default::default() };
        let entry = v1::TimelineEntry {
            time: Some(prost_types::Timestamp { seconds: 61, nanos: 5 }),
            actor: "kubernetes".into(),
            object: "pod/shop-x".into(),
            message: "BackOff: \u{1b}[31mno\nmore".into(),
            detail: Some(Detail::KubernetesEvent(event)),
        };
        let expected = ["1970-01-01T00:01:01Z", "WARNING", "kubernetes", "pod/shop-x: BackOff: no more"];
        assert_eq!(row(&entry), expected);
        let refused = v1::AuditedCall { code: 5, ..Default::default() };
        let call = v1::TimelineEntry {
            object: "deployment.apps/shop".into(),
            message: "ScaleApp ended with NotFound".into(),
            detail: Some(Detail::Call(refused)),
            ..Default::default()
        };
        assert_eq!(row(&call)[1..], ["REFUSED", "", "ScaleApp ended with NotFound"]);
    }
}
