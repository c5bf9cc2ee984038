//! What happens, for whoever watches: a line for each thing that is done, and below them on a terminal how far it is.

use crate::cli::output;

/// How wide the bar is: with what stands behind it, it fits on any terminal.
const WIDTH: usize = 24;

/// Steps that are done one after another.
pub(super) struct Steps {
    done: usize,
    all: usize,
    is_drawn: bool,
}

impl Steps {
    /// None is done yet.
    pub(super) fn begin(all: usize) -> Self {
        let mut steps = Self { done: 0, all, is_drawn: false };
        steps.draw();
        steps
    }

    /// Says something.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        output::aside(text);
        self.draw();
    }

    /// A step is done.
    pub(super) fn step(&mut self) {
        self.done += 1;
        self.draw();
    }

    fn draw(&mut self) {
        self.is_drawn = output::progress_line(&bar(self.done, self.all));
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            output::progress_line("");
        }
    }
}

impl Drop for Steps {
    /// What is done stays on the screen in full; what was broken off gives its line to the error.
    fn drop(&mut self) {
        if self.done == self.all && self.is_drawn {
            output::aside("");
        } else {
            self.clear();
        }
    }
}

/// `[############............]  50% (2/4)`
fn bar(done: usize, all: usize) -> String {
    let filled = WIDTH * done / all;
    format!("[{}{}] {:3}% ({done}/{all})", "#".repeat(filled), ".".repeat(WIDTH - filled), 100 * done / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_and_keeps_its_width() {
        assert_eq!(bar(0, 4), "[........................]   0% (0/4)");
        assert_eq!(bar(2, 4), "[############............]  50% (2/4)");
        assert_eq!(bar(4, 4), "[########################] 100% (4/4)");
    }
}
