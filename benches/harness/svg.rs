//! Charts as plain SVG, which read well on light and dark backgrounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The file: a drawing of this size in pixels.
///
/// Classes of text: `h` a head, `t` a title, `m` a remark, `n` ends where it is put; of lines: `s` a
/// spread, `o` what a ratio is to, `g` a grid, `p0` and `p1` series, `d0` and `d1` their points; of
/// areas: `b` a bar, `k0` and `k1` the series' keys.
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
         .d0, .d1 {{ fill: none; stroke-width: 3; stroke-linecap: round; stroke-opacity: 0.3 }}\n\
         .d0 {{ stroke: #2f6feb }} .d1 {{ stroke: #bc4c00 }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #e6edf3 }} .m {{ fill: #9198a1 }} .s {{ stroke: #e6edf3 }} .g {{ stroke: #3d444d }}\n\
         .p1, .d1 {{ stroke: #f0883e }} .k1 {{ fill: #f0883e }}\n\
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
    for (at, (_, points)) in series.iter().enumerate() {
        let place = |(at, value): (usize, &f64)| {
            format!("{:.1},{:.1}", across(at), bottom - height * value / ceiling)
        };
        let points: Vec<String> = points.iter().enumerate().map(place).collect();
        let points = points.join(" ");
        let _ = writeln!(out, "<polyline class=\"p{at}\" points=\"{points}\"/>");
    }
    keys(
        out,
        left + 120.0,
        bottom + 20.0,
        series.iter().map(|(name, _)| *name),
    );
}

/// The series' names with their colours, from this point on.
pub fn keys<'a>(out: &mut String, mut x: f64, y: f64, names: impl Iterator<Item = &'a str>) {
    for (at, name) in names.enumerate() {
        let _ = writeln!(
            out,
            "<rect class=\"k{at}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"14\" height=\"8\"/>"
        );
        text(out, "v", x + 20.0, y + 8.0, name);
        x += 44.0 + 7.0 * name.len() as f64;
    }
}

/// A point of a [`scatter`].
pub type Point = (f64, f64);

/// An area with two logarithmic axes.
struct Logarithmic {
    area: Area,
    /// What is written along the axes, the least first.
    along: Vec<f64>,
    upward: Vec<f64>,
}

impl Logarithmic {
    /// Where a point is, in pixels.
    fn place(&self, (x, y): Point) -> Point {
        let share = |ticks: &[f64], value: f64| {
            let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
            (value / first).ln() / (last / first).ln()
        };
        let Area { width, height, .. } = self.area;
        (
            self.area.x + width * share(&self.along, x),
            self.area.y + height * (1.0 - share(&self.upward, y)),
        )
    }

    fn line(&self, out: &mut String, class: &str, from: Point, to: Point) {
        let ((x1, y1), (x2, y2)) = (self.place(from), self.place(to));
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{y1:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    /// The grid with its numbers, and the line of all points whose ordinate is so many times the abscissa.
    fn grid(&self, out: &mut String, (name, times): (&str, f64)) {
        let ends = |ticks: &[f64]| (ticks[0], ticks[ticks.len() - 1]);
        let ((left, right), (low, high)) = (ends(&self.along), ends(&self.upward));
        for &x in &self.along {
            self.line(out, "g", (x, low), (x, high));
            let (at, bottom) = self.place((x, low));
            text(out, "m", at - 8.0, bottom + 14.0, &format!("{x}"));
        }
        for &y in &self.upward {
            self.line(out, "g", (left, y), (right, y));
            let (at, middle) = self.place((left, y));
            text(out, "n", at - 6.0, middle + 4.0, &format!("{y}"));
        }
        let (from, to) = (left.max(low / times), right.min(high / times));
        if from < to {
            self.line(out, "o", (from, from * times), (to, to * times));
            let (x, y) = self.place((to, to * times));
            text(out, "m", x - 68.0, y - 4.0, name);
        }
    }

    /// The points, to a pixel: what falls together is drawn once.
    fn dots(&self, points: &[Point]) -> String {
        let places: BTreeSet<_> = points
            .iter()
            .map(|point| self.place(*point))
            .map(|(x, y)| (x.round() as u32, y.round() as u32))
            .collect();
        places.iter().map(|(x, y)| format!("M{x} {y}h0")).collect()
    }

    /// The medians of points whose abscissas are within a factor of two.
    fn medians(&self, points: &[Point]) -> String {
        let mut classes: BTreeMap<i32, Vec<Point>> = BTreeMap::new();
        for point in points {
            let class = point.0.log2().floor() as i32;
            classes.entry(class).or_default().push(*point);
        }
        // A median of fewer says little.
        classes.retain(|_, points| points.len() >= 5);
        let median = |points: &[Point], of: fn(&Point) -> f64| {
            let mut values: Vec<f64> = points.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let places = classes.values().map(|points| {
            let (x, y) = (
                median(points, |point| point.0),
                median(points, |point| point.1),
            );
            let (x, y) = self.place((x, y));
            format!("{x:.1},{y:.1}")
        });
        places.collect::<Vec<_>>().join(" ")
    }
}

/// Draws up to two series of points, which are positive, over logarithmic axes, and as a line the medians
/// of points whose abscissas are within a factor of two; `x` names the abscissa. A `guide` is the line of
/// all points whose ordinate is so many times the abscissa.
pub fn scatter(
    out: &mut String,
    area: Area,
    title: &str,
    x: &str,
    guide: (&str, f64),
    series: &[(&str, &[Point])],
) {
    text(out, "t", area.x, area.y - 12.0, title);
    let all = || series.iter().flat_map(|(_, points)| points.iter());
    let axes = Logarithmic {
        area,
        along: ticks(all().map(|point| point.0)),
        upward: ticks(all().map(|point| point.1)),
    };
    axes.grid(out, guide);
    for (at, (_, points)) in series.iter().enumerate() {
        let dots = axes.dots(points);
        let _ = writeln!(out, "<path class=\"d{at}\" d=\"{dots}\"/>");
    }
    for (at, (_, points)) in series.iter().enumerate() {
        let medians = axes.medians(points);
        let _ = writeln!(out, "<polyline class=\"p{at}\" points=\"{medians}\"/>");
    }
    let y = area.y + area.height + 20.0;
    text(out, "m", area.x, y + 8.0, x);
    let names = series.iter().map(|(name, _)| *name);
    keys(out, area.x + 180.0, y, names);
}

/// One, two and five times the powers of ten, from below the least of the values to above the largest.
fn ticks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let (least, largest) = values.fold((f64::INFINITY, 0.0_f64), |(least, largest), value| {
        (least.min(value), largest.max(value))
    });
    if least > largest {
        return vec![1.0, 10.0];
    }
    let decades = least.log10().floor() as i32..=largest.log10().ceil() as i32;
    // By division, as the reciprocals of powers of ten are no doubles.
    let decade = |exponent: i32, digit: f64| match exponent {
        0.. => digit * 10f64.powi(exponent),
        _ => digit / 10f64.powi(-exponent),
    };
    let all: Vec<f64> = decades
        .flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| decade(exponent, digit)))
        .collect();
    let first = all.iter().rposition(|tick| *tick <= least).unwrap_or(0);
    let last = all.iter().position(|tick| *tick > largest);
    all[first..=last.unwrap_or(all.len() - 1)].to_vec()
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
