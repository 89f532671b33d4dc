//! Owns the sheet that a fleet lacks: one row ready to fill in for each price that no sheet and no
//! exact catalogue row gives.

use super::{PriceRow, Rung};

const HEADER: &str = "provider,region,instance_type,gpu_product,node_selector,capacity_type,unit,list,contracted,effective,currency,valid_from,valid_to,commitment_id,commitment_end,note";

/// The sheet's text. Rows whose price is estimated say what is used until they are filled in.
#[must_use]
pub fn missing_sheet(rows: &[PriceRow]) -> String {
    let mut lacking: Vec<&PriceRow> = rows
        .iter()
        .filter(|row| {
            matches!(
                row.rung,
                Rung::Unknown | Rung::OtherRegion | Rung::ProviderGpu
            )
        })
        .collect();
    lacking.sort_by_key(|row| row.price_key());
    lacking.dedup_by_key(|row| row.price_key());
    let mut text = format!("{HEADER}\n");
    for row in lacking {
        let facts = &row.facts;
        let note = match row.usd_per_gpu_hour() {
            None => "no price is known: GPU-hours are shown without dollars".to_owned(),
            Some(usd) => format!("until filled in: {usd} USD a GPU-hour ({})", row.provenance),
        };
        let node = row
            .gpus_per_node
            .map_or_else(String::new, |gpus| format!("; a node has {gpus} GPUs"));
        // A node has one price; where only the GPU is known the price is a GPU's.
        let unit = if facts.instance_type.is_empty() {
            "gpu_hour"
        } else {
            "node_hour"
        };
        let cells = [
            &facts.provider,
            &facts.region,
            &facts.instance_type,
            &facts.gpu_product,
            "",
            &facts.capacity_type,
            unit,
            "",
            "",
            "",
            "USD",
            "",
            "",
            "",
            "",
            &format!("{note}{node}"),
        ];
        let quoted: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
        text.push_str(&quoted.join(","));
        text.push('\n');
    }
    text
}

/// As RFC 4180 wants it; a cell that a spreadsheet would run is text.
fn quote(cell: &str) -> String {
    let cell = if cell.starts_with(['=', '+', '-', '@']) {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}
