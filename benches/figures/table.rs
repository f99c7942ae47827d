//! The table: a line for each figure, notes below it.

/// One line.
pub(crate) struct Figure {
    what: String,
    measured: String,
    beside: String,
    against: String,
    verdict: &'static str,
    notes: Vec<String>,
}

/// What a figure should be.
pub(crate) enum Aim {
    AtMost(f64),
    AtLeast(f64),
}

impl Figure {
    /// A figure without an aim.
    pub(crate) fn new(what: impl Into<String>, measured: impl Into<String>) -> Self {
        let (beside, against) = (String::new(), String::new());
        Self { what: what.into(), measured: measured.into(), beside, against, verdict: "", notes: Vec::new() }
    }

    /// What was measured with it in turns.
    pub(crate) fn beside(mut self, beside: impl Into<String>) -> Self {
        self.beside = beside.into();
        self
    }

    /// Holds `value` against `aim`; `unit` stands behind both.
    pub(crate) fn aim(mut self, value: f64, aim: &Aim, unit: &str) -> Self {
        let (sign, wanted, met) = match aim {
            Aim::AtMost(wanted) => ('≤', *wanted, value <= *wanted),
            Aim::AtLeast(wanted) => ('≥', *wanted, value >= *wanted),
        };
        self.against = format!("{}{unit} ({sign} {}{unit})", number(value), number(wanted));
        self.verdict = if met { "met" } else { "MISSED" };
        self
    }

    /// How many times what stands beside it.
    pub(crate) fn ratio(mut self, ratio: f64) -> Self {
        self.against = number(ratio);
        self
    }

    /// A line below it.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn print(&self) {
        let Self { what, measured, beside, against, verdict, .. } = self;
        line([what, measured, beside, against, verdict]);
        for note in &self.notes {
            println!("    {note}");
        }
    }
}

/// The line above all others.
pub(crate) fn head() {
    let titles = ["what", "measured", "beside", "ratio or value (aim)", "verdict"];
    line(titles);
    line(titles.map(|title| "─".repeat(title.chars().count())).each_ref().map(String::as_str));
}

fn line([what, measured, beside, against, verdict]: [&str; 5]) {
    let text = format!("{what:<58}  {measured:<26}  {beside:<30}  {against:<26}  {verdict}");
    println!("{}", text.trim_end());
}

/// A number as people read it: thousands apart, as many decimals as tell something.
pub(crate) fn number(value: f64) -> String {
    let decimals = if value.abs() >= 100.0 { 0 } else { 2 };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = whole.trim_start_matches('-');
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{fraction}") }
}

/// The middle of `values`.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that a share of `values` is at or below.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}
