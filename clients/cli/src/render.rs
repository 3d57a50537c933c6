//! What is printed: answers, plans and live views as lines of text. All of it is pure, except `terminal`,
//! which writes the lines.

pub(crate) mod describe;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod problem;
pub(crate) mod progress;
pub(crate) mod rows;
pub(crate) mod settling;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod text;
