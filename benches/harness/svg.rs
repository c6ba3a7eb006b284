//! Charts as plain SVG, which read well on light and dark backgrounds.

use std::fmt::Write;

/// The file: a drawing of this size in pixels.
///
/// Classes of text: `h` a head, `t` a title, `m` a remark, `n` ends where it is put; of lines: `s` a
/// spread, `o` what a ratio is to, `g` a grid, `p0` and `p1` series; of areas: `b` a bar, `k0` and `k1`
/// the series' keys.
pub fn document(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\">\n\
         <style>\n\
         text {{ fill: #1f2328; font-size: 12px }}\n\
         .h {{ font-size: 17px; font-weight: bold }}\n\
         .t {{ font-size: 13px; font-weight: bold }}\n\
         .m {{ font-size: 10px; fill: #59636e }}\n\
         .n {{ text-anchor: end }}\n\
         .b {{ fill: #2f6feb }}\n\
         .s {{ stroke: #1f2328; stroke-width: 1.5 }}\n\
         .o {{ stroke: #59636e; stroke-dasharray: 3 3 }}\n\
         .g {{ stroke: #d1d9e0 }}\n\
         .p0, .p1 {{ fill: none; stroke-width: 2 }}\n\
         .p0 {{ stroke: #2f6feb }} .k0 {{ fill: #2f6feb }}\n\
         .p1 {{ stroke: #bc4c00 }} .k1 {{ fill: #bc4c00 }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #e6edf3 }} .m {{ fill: #9198a1 }} .s {{ stroke: #e6edf3 }} .g {{ stroke: #3d444d }}\n\
         .p1 {{ stroke: #f0883e }} .k1 {{ fill: #f0883e }}\n\
         }}\n\
         </style>\n{body}</svg>\n"
    )
}

/// Puts a text at this point.
pub fn text(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
    );
}

/// Where a [`plot`] stands, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// Draws up to two series of points as lines over a grid that starts at zero; `x` names the abscissa,
/// which runs over the points' numbers from 1 on.
pub fn plot(out: &mut String, area: Area, title: &str, x: &str, series: &[(&str, &[f64])]) {
    let Area {
        x: left,
        y: top,
        width,
        height,
    } = area;
    text(out, "t", left, top - 12.0, title);
    let values = series.iter().flat_map(|(_, points)| points.iter().copied());
    let step = step(values.filter(|value| value.is_finite()).fold(0.0, f64::max));
    let ceiling = step * 4.0;
    let bottom = top + height;
    for line in 0..=4 {
        let value = step * f64::from(line);
        let y = bottom - height * value / ceiling;
        let right = left + width;
        let _ = writeln!(
            out,
            "<line class=\"g\" x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        text(out, "n", left - 6.0, y + 4.0, &format!("{value}"));
    }
    let most = series.iter().map(|(_, points)| points.len()).max();
    let most = most.unwrap_or(0).max(1);
    let across = |at: usize| left + width * (at as f64 + 0.5) / most as f64;
    for at in (0..most).step_by(most.div_ceil(20)) {
        text(
            out,
            "m",
            across(at) - 3.0,
            bottom + 14.0,
            &format!("{}", at + 1),
        );
    }
    text(out, "m", left, bottom + 28.0, x);
    let mut key = left + 120.0;
    for (at, (name, points)) in series.iter().enumerate() {
        let place = |(at, value): (usize, &f64)| {
            format!("{:.1},{:.1}", across(at), bottom - height * value / ceiling)
        };
        let points: Vec<String> = points.iter().enumerate().map(place).collect();
        let points = points.join(" ");
        let _ = writeln!(out, "<polyline class=\"p{at}\" points=\"{points}\"/>");
        let y = bottom + 20.0;
        let _ = writeln!(
            out,
            "<rect class=\"k{at}\" x=\"{key:.1}\" y=\"{y:.1}\" width=\"14\" height=\"8\"/>"
        );
        text(out, "v", key + 20.0, bottom + 28.0, name);
        key += 44.0 + 7.0 * name.len() as f64;
    }
}

/// A round number of which four are at least `largest`.
fn step(largest: f64) -> f64 {
    if largest <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf((largest / 4.0).log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * magnitude);
    let enough = round.into_iter().find(|step| step * 4.0 >= largest);
    enough.unwrap_or(10.0 * magnitude)
}
