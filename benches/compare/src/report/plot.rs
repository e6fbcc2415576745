//! One picture: for each scenario a bar for mantlet, as long as its ratio to the best other full proxy, and a mark for every
//! other one. Colours follow the reader's choice of light or dark.

use std::fmt::Write as _;

use super::table::Table;
use crate::peers::{Layer, Peer, Product};

const WIDTH: f64 = 880.0;
const ROW: f64 = 34.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = 44.0;
const LEFT: f64 = 236.0;
const RIGHT: f64 = 84.0;
/// Ratios beyond are drawn at the edge.
const LIMIT: u8 = 4;

const STYLE: &str = "\
    .paper { fill: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e } .line { stroke: #d1d9e0 } .one { stroke: #59636e } \
    .better { fill: #1a7f37 } .worse { fill: #bc4c00 } .mark { stroke: #ffffff } \
    .envoy { fill: #8250df } .haproxy { fill: #0969da } .nginx { fill: #57606a } \
    @media (prefers-color-scheme: dark) { \
    .paper { fill: #0d1117 } .text { fill: #e6edf3 } .faint { fill: #9198a1 } .line { stroke: #30363d } .one { stroke: #9198a1 } \
    .better { fill: #3fb950 } .worse { fill: #f0883e } .mark { stroke: #0d1117 } \
    .envoy { fill: #ab7df8 } .haproxy { fill: #4493f8 } .nginx { fill: #b1bac4 } }";

pub(super) fn svg(tables: &[Table], smoke: bool) -> String {
    let compared = |table: &&Table| ratio_of(table, "mantlet").is_some() && table.best_other(Layer::Http).is_some();
    let rows: Vec<_> = tables.iter().filter(compared).collect();
    let remark = if smoke { "A smoke run: nothing here means anything." } else { "" };
    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"13\" role=\"img\" aria-label=\"mantlet relative to the best other full proxy; shorter is better\">\n\
         <style>{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"text\" x=\"20\" y=\"32\" font-size=\"17\" font-weight=\"600\">\
         mantlet relative to the best other full proxy</text>\n\
         <text class=\"faint\" x=\"20\" y=\"53\">Shorter is better; 1 is the best of the others. {remark}</text>\n",
    );
    svg += &legend();
    svg += &axis(height);
    let mut middle = TOP + ROW / 2.0;
    for table in rows {
        svg += &row(table, middle).unwrap_or_default();
        middle += ROW;
    }
    svg + "</svg>\n"
}

fn x(ratio: f64) -> f64 {
    let limit = f64::from(LIMIT);
    LEFT + ratio.clamp(0.0, limit) / limit * (WIDTH - LEFT - RIGHT)
}

fn ratio_of(table: &Table, subject: &str) -> Option<f64> {
    Some(table.main(subject)? / table.reference()?)
}

fn axis(height: f64) -> String {
    let mut svg = String::new();
    for tick in [0_u8, 1, 2, 3, LIMIT] {
        let (x, class) = (x(tick.into()), if tick == 1 { "one" } else { "line" });
        let (end, label) = (height - BOTTOM, height - BOTTOM + 19.0);
        let more = if tick == LIMIT { " and more" } else { "" };
        writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{end:.1}\"/>\
             <text class=\"faint\" x=\"{x:.1}\" y=\"{label:.1}\" text-anchor=\"middle\">{tick}×{more}</text>",
            top = TOP - 6.0,
        )
        .ok();
    }
    svg
}

fn row(table: &Table, middle: f64) -> Option<String> {
    let ratio = ratio_of(table, "mantlet")?;
    let class = if ratio <= 1.0 { "better" } else { "worse" };
    let (name, main) = (table.scenario.name, table.scenario.main);
    let mut svg = format!(
        "<text class=\"text\" x=\"20\" y=\"{name_y:.1}\" font-weight=\"600\">{name}</text>\
         <text class=\"faint\" x=\"20\" y=\"{main_y:.1}\" font-size=\"11\">{main}</text>\
         <rect class=\"{class}\" x=\"{LEFT}\" y=\"{bar_y:.1}\" width=\"{length:.1}\" height=\"12\" rx=\"2\"/>",
        name_y = middle - 2.0,
        main_y = middle + 11.0,
        bar_y = middle - 6.0,
        length = (x(ratio) - LEFT).max(1.5),
    );
    for other in &table.rows {
        let Some(peer) = Peer::named(&other.subject) else { continue };
        let others_ratio = ratio_of(table, &other.subject);
        if let (Layer::Http, true, Some(ratio)) = (peer.layer, peer.product != Product::Mantlet, others_ratio) {
            svg += &mark(peer, x(ratio), middle);
        }
    }
    // Beside everything, so that no mark covers it.
    writeln!(
        svg,
        "<text class=\"{class}\" x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"end\" font-weight=\"600\">{ratio:.2}×</text>",
        at = WIDTH - 20.0,
        y = middle + 4.5,
    )
    .ok();
    Some(svg)
}

/// A circle or, for HTTP/2 between the proxies, a diamond.
fn mark(peer: &Peer, x: f64, y: f64) -> String {
    let class = peer.product.program();
    let title = peer.name;
    if peer.differs_in_hop_alone() {
        let (top, right, bottom, left) = (y - 6.5, x + 6.5, y + 6.5, x - 6.5);
        format!(
            "<path class=\"{class} mark\" d=\"M{x:.1} {top:.1}L{right:.1} {y:.1}L{x:.1} {bottom:.1}L{left:.1} {y:.1}Z\">\
             <title>{title}</title></path>"
        )
    } else {
        format!("<circle class=\"{class} mark\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{title}</title></circle>")
    }
}

fn legend() -> String {
    let mut svg = String::new();
    let mut at = 28.0;
    for name in ["haproxy", "haproxy-h2hop", "envoy", "envoy-h2hop", "nginx"] {
        let Some(peer) = Peer::named(name) else { continue };
        svg += &mark(peer, at, 74.0);
        writeln!(svg, "<text class=\"faint\" x=\"{:.1}\" y=\"78.5\">{name}</text>", at + 11.0).ok();
        #[expect(clippy::cast_precision_loss, reason = "a few letters")]
        let length = name.len() as f64 * 7.2;
        at += length + 34.0;
    }
    svg
}
