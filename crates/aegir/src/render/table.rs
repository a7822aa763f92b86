//! Tables: aligned and folded for a person at a terminal, tab-separated for a pipe.

use anstyle::{AnsiColor, Color, Style};
use comfy_table::{Attribute, ColumnConstraint, ContentArrangement, Table, presets};

use super::Look;
use aegir_service::terminal::clean;

/// A cell: its text, and how that looks where there are colours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A text that looks like this.
    #[must_use]
    pub fn styled(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, style: Style::new() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// The columns that never fold.
const WHOLE: [&str; 4] = ["ID", "OPERATION", "VARIABLE", "NODE"];

/// A table. A row may be shorter than the header.
#[must_use]
pub fn table(look: &Look, header: &[&str], rows: &[Vec<Cell>]) -> String {
    if look.terminal { for_people(look, header, rows) } else { for_pipes(header, rows) }
}

/// A table for a person at a terminal in which every row is one line: what has no room is cut and ends with `…`. In a
/// narrow window the last columns are left out.
#[must_use]
pub fn cut_table(look: &Look, header: &[&str], rows: &[Vec<Cell>]) -> String {
    let columns = match look.width {
        Some(..50) => 3,
        Some(50..75) => 4,
        Some(75..95) => 5,
        Some(_) | None => header.len(),
    }
    .min(header.len());
    let rows: Vec<_> = rows.iter().map(|row| row.iter().take(columns).cloned().collect()).collect();
    let mut table = laid_out(look, &header[..columns], &rows, &["ID"]);
    table.set_truncation_indicator("…");
    let mut head = table.header().cloned().unwrap_or_default();
    head.max_height(1);
    table.set_header(head);
    for row in table.row_iter_mut() {
        row.max_height(1);
    }
    lines(&table)
}

fn for_people(look: &Look, header: &[&str], rows: &[Vec<Cell>]) -> String {
    lines(&laid_out(look, header, rows, &WHOLE))
}

fn laid_out(look: &Look, header: &[&str], rows: &[Vec<Cell>], whole: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Whether there are colours is `look`'s decision.
    table.force_no_tty();
    if look.colour {
        table.enforce_styling();
    }
    if let Some(width) = look.width {
        table.set_width(width);
    }
    table.set_header(header.iter().map(|name| comfy_table::Cell::new(name).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.iter().map(shown));
    }
    // What is copied into the next command must stay in one piece; other columns fold instead.
    for (index, _) in header.iter().enumerate().filter(|(_, name)| whole.contains(name)) {
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

fn lines(table: &Table) -> String {
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// The tables count colours as no width only where they set them themselves.
fn shown(cell: &Cell) -> comfy_table::Cell {
    let shown = comfy_table::Cell::new(clean(&cell.text, false));
    match cell.style.get_fg_color().and_then(colour) {
        Some(colour) => shown.fg(colour),
        None => shown,
    }
}

fn colour(colour: Color) -> Option<comfy_table::Color> {
    match colour {
        Color::Ansi(AnsiColor::Green) => Some(comfy_table::Color::DarkGreen),
        Color::Ansi(AnsiColor::Red) => Some(comfy_table::Color::DarkRed),
        Color::Ansi(AnsiColor::Yellow) => Some(comfy_table::Color::DarkYellow),
        Color::Ansi(AnsiColor::Cyan) => Some(comfy_table::Color::DarkCyan),
        Color::Ansi(_) | Color::Ansi256(_) | Color::Rgb(_) => None,
    }
}

/// A tab or a newline in a cell would make two of it.
fn for_pipes(header: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut text = header.join("\t") + "\n";
    for row in rows {
        let cells: Vec<_> =
            row.iter().map(|cell| clean(&cell.text, false).replace(['\t', '\n'], " ")).collect();
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_do_not_move_columns() {
        let rows = [
            vec![Cell::styled(Style::new().fg_color(Some(AnsiColor::Green.into())), "open"), "first".into()],
            vec!["CLOSED".into(), "second".into()],
        ];
        let look = |colour| Look { terminal: true, width: Some(40), colour, ..Look::plain() };
        let plain = table(&look(false), &["VERDICT", "HOP"], &rows);
        let coloured = table(&look(true), &["VERDICT", "HOP"], &rows);
        assert!(coloured.contains("\u{1b}["), "{coloured:?}");
        assert_eq!(
            anstream::adapter::strip_str(&coloured).to_string().replace(' ', ""),
            plain.replace(' ', "")
        );
        assert_eq!(plain, " VERDICT  HOP\n open     first\n CLOSED   second\n");
    }
}
