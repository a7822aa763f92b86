//! Tables: aligned and folded for a person at a terminal, tab-separated for a pipe.

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};

use super::Look;

/// The columns that never fold.
const WHOLE: [&str; 4] = ["ID", "OPERATION", "VARIABLE", "NODE"];

/// A table. A row may be shorter than the header.
#[must_use]
pub fn table(look: &Look, header: &[&str], rows: &[Vec<String>]) -> String {
    if look.terminal { for_people(look, header, rows) } else { for_pipes(header, rows) }
}

fn for_people(look: &Look, header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Colours are in the cells already; whether there are any is `look`'s decision.
    table.force_no_tty();
    if let Some(width) = look.width {
        table.set_width(width);
    }
    table.set_header(header.iter().map(|name| Cell::new(look.strong(name))));
    for row in rows {
        table.add_row(row.iter().map(Cell::new));
    }
    // What is copied into the next command must stay in one piece; other columns fold instead.
    for (index, _) in header.iter().enumerate().filter(|(_, name)| WHOLE.contains(name)) {
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut text: String = table.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    if text.is_empty() {
        text.push('\n');
    }
    text
}

/// A tab or a newline in a cell would make two of it.
fn for_pipes(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = header.join("\t") + "\n";
    for row in rows {
        let cells: Vec<_> = row.iter().map(|cell| cell.replace(['\t', '\n', '\r'], " ")).collect();
        text.push_str(&cells.join("\t"));
        text.push('\n');
    }
    text
}
