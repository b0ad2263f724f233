//! Columns, as kubectl prints them. Pure.

/// Space between two columns.
const GAP: usize = 3;

/// Rows below their headings, each column as wide as its widest cell. No space at the end of a
/// line.
#[must_use]
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(headings[at].len())
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let headings = headings
        .iter()
        .map(|heading| (*heading).to_owned())
        .collect();
    let lines = std::iter::once(&headings).chain(rows);
    lines.map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line += cell;
        line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
    }
    line.truncate(line.trim_end().len());
    line + "\n"
}

/// Rows of `table` without the headings, for a table that goes on.
#[must_use]
pub(super) fn rows(headings: &[&str], rows: &[Vec<String>]) -> String {
    let all = table(headings, rows);
    all.split_once('\n')
        .map_or(String::new(), |(_, rows)| rows.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let row = |cells: [&str; 3]| cells.map(String::from).to_vec();
        let rows_of = [row(["web", "web-0", ""]), row(["größer", "-", "x"])];
        let expected = "SERVICE   LEADER   REASON\nweb       web-0\ngrößer    -        x\n";
        let headings = ["SERVICE", "LEADER", "REASON"];
        assert_eq!(table(&headings, &rows_of), expected);
        assert_eq!(table(&headings, &[]), "SERVICE   LEADER   REASON\n");
        assert_eq!(rows(&headings, &rows_of[..1]), "web       web-0\n");
    }
}
