//! Rows of text as columns that stand under each other: what a command shows people.

use std::fmt;

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Columns, perhaps with a head, and rows; displays as lines, each ended, without white space at their ends.
#[derive(Debug, Clone)]
pub struct Table {
    sides: Vec<Side>,
    lines: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no row.
    pub fn new(columns: &[(&str, Side)]) -> Self {
        let head = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        Self { sides: columns.iter().map(|(_, side)| *side).collect(), lines: vec![head] }
    }

    /// Columns without a head.
    pub fn bare(sides: &[Side]) -> Self {
        Self { sides: sides.to_vec(), lines: Vec::new() }
    }

    /// Adds a row: one cell a column; what is beyond the columns is not shown.
    pub fn push(&mut self, cells: Vec<String>) {
        self.lines.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        for line in &self.lines {
            let cells: Vec<String> = line
                .iter()
                .zip(self.sides.iter().zip(&widths))
                .map(|(cell, (side, &width))| match side {
                    Side::Left => format!("{cell:<width$}"),
                    Side::Right => format!("{cell:>width$}"),
                })
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let mut table = Table::new(&[("name", Side::Left), ("n", Side::Right), ("note", Side::Left)]);
        table.push(["größte", "7", ""].map(str::to_owned).to_vec());
        table.push(["a", "1234", "why"].map(str::to_owned).to_vec());
        assert_eq!(table.to_string(), "name       n  note\ngrößte     7\na       1234  why\n");
    }
}
