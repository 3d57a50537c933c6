//! Columns of text. Must not know what the cells mean.

use crate::render::text;

const GAP: &str = "   ";

/// Aligns rows below their headings; the last column is not limited. Every row has as many cells as there are
/// headings. `paint` colours a cell, given its column.
pub(crate) fn render(
    headings: &[&str],
    rows: &[Vec<String>],
    paint: impl Fn(usize, &str) -> String,
) -> Vec<String> {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| text::line(cell)).collect()).collect();
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    let row = |row: &Vec<String>| columns(row, &widths, &paint);
    std::iter::once(aligned(&headings, &widths)).chain(rows.iter().map(row)).collect()
}

/// Formats one row in columns of at least these widths, for rows that come one by one.
pub(crate) fn aligned(row: &[String], widths: &[usize]) -> String {
    columns(row, widths, |_, cell| cell.to_owned())
}

/// The same as [`aligned`], with colours.
pub(crate) fn columns(row: &[String], widths: &[usize], paint: impl Fn(usize, &str) -> String) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        // Colours have no width.
        let fill = width.saturating_sub(cell.chars().count());
        format!("{}{}", paint(column, cell), " ".repeat(fill))
    });
    cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(_: usize, cell: &str) -> String {
        cell.to_owned()
    }

    #[test]
    fn colours_have_no_width() {
        let rows = [vec!["shop".into(), "x".into()], vec!["a".into(), "x".into()]];
        let painted = render(&["NAME", "X"], &rows, |column, cell| {
            if column == 0 { format!("\u{1b}[1m{cell}\u{1b}[0m") } else { cell.to_owned() }
        });
        let stripped: Vec<String> =
            painted.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        assert_eq!(stripped, render(&["NAME", "X"], &rows, plain));
        assert_ne!(stripped, painted);
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["shop".into(), "3/3".into(), "all is well".into()],
            vec!["a-longer-name".into(), "0/1".into(), String::new()],
        ];
        assert_eq!(
            render(&["NAME", "READY", "MESSAGE"], &rows, plain),
            ["NAME            READY   MESSAGE", "shop            3/3     all is well", "a-longer-name   0/1"]
        );
    }

    proptest! {
        #[test]
        fn every_second_cell_begins_below_its_heading(cells in proptest::collection::vec("[a-zé]{1,12}", 1..9)) {
            let rows: Vec<_> = cells.iter().map(|cell| vec![cell.clone(), "|".to_owned()]).collect();
            let lines = render(&["A", "|"], &rows, plain);
            let columns: Vec<_> = lines.iter().map(|line| line.chars().position(|c| c == '|')).collect();
            prop_assert!(columns.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }
}
