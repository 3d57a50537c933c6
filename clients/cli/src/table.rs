//! Columns of text. Must not know what stands in them.

use crate::text;

const GAP: &str = "   ";

/// Lines up rows below their headings; the last column is as long as it likes. Every row has as many cells as there are headings.
pub(crate) fn render(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| text::line(cell)).collect()).collect();
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    std::iter::once(&headings).chain(&rows).map(|row| aligned(row, &widths)).collect()
}

/// One row in columns at least so wide: for rows that come one by one.
pub(crate) fn aligned(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
    cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["shop".into(), "3/3".into(), "all is well".into()],
            vec!["a-longer-name".into(), "0/1".into(), String::new()],
        ];
        assert_eq!(
            render(&["NAME", "READY", "MESSAGE"], &rows),
            ["NAME            READY   MESSAGE", "shop            3/3     all is well", "a-longer-name   0/1"]
        );
    }

    proptest! {
        #[test]
        fn every_second_cell_begins_below_its_heading(cells in proptest::collection::vec("[a-zé]{1,12}", 1..9)) {
            let rows: Vec<_> = cells.iter().map(|cell| vec![cell.clone(), "|".to_owned()]).collect();
            let lines = render(&["A", "|"], &rows);
            let columns: Vec<_> = lines.iter().map(|line| line.chars().position(|c| c == '|')).collect();
            prop_assert!(columns.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }
}
