//! QR codes, for pages and terminals. Pure.
//!
//! - Dark on white whatever is around: few cameras read a code whose colours are exchanged.
//! - The quiet zone around a code is part of it: four modules, as the standard asks.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};
use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode};

/// White around a code, modules.
const QUIET: usize = 4;

/// Black on white, whatever a terminal's own colours are.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const AS_BEFORE: &str = "\x1b[0m";

/// A code with its quiet zone.
#[derive(Debug)]
pub struct Code {
    colors: Vec<Color>,
    width: usize,
}

impl Code {
    /// The smallest code that holds `text`: screens lose no modules, so with the least redundancy.
    pub fn of(text: &str) -> Result<Self, QrError> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
        Ok(Self { width: code.width(), colors: code.to_colors() })
    }

    /// Modules from side to side.
    pub fn width(&self) -> usize {
        self.width + 2 * QUIET
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        let within = |at: usize| at.checked_sub(QUIET).filter(|at| *at < self.width);
        within(x).zip(within(y)).is_some_and(|(x, y)| self.colors[y * self.width + x] == Color::Dark)
    }

    /// As an image of a page. `of` says to programs which phones it is for, `title` says it to people.
    pub(crate) fn svg(&self, of: &str, title: &str) -> Markup {
        let width = self.width();
        let mut path = String::new();
        for y in 0..width {
            let mut x = 0;
            while x < width {
                let run = (x..width).take_while(|x| self.is_dark(*x, y)).count();
                if run > 0 {
                    let _ = write!(path, "M{x} {y}h{run}v1h-{run}z");
                }
                x += run.max(1);
            }
        }
        html! {
            svg.qr data-for=(of) role="img" aria-label=(title) xmlns="http://www.w3.org/2000/svg"
                viewBox=(format!("0 0 {width} {width}")) shape-rendering="crispEdges" {
                rect width=(width) height=(width) fill="#fff" {}
                path fill="#000" d=(PreEscaped(path)) {}
            }
        }
    }

    /// As lines of a terminal, each as many columns as the code has modules, and half as many lines: two modules stand
    /// one above the other in a character.
    pub fn lines(&self) -> Vec<String> {
        let width = self.width();
        let line = |upper: usize| {
            let mut line = String::from(BLACK_ON_WHITE);
            line.extend((0..width).map(|x| match (self.is_dark(x, upper), self.is_dark(x, upper + 1)) {
                (false, false) => ' ',
                (true, false) => '▀',
                (false, true) => '▄',
                (true, true) => '█',
            }));
            line.push_str(AS_BEFORE);
            line
        };
        (0..width).step_by(2).map(line).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What another library reads in an image of `width` by `width` pixels, of which `dark` tells the dark ones.
    pub(crate) fn read(width: usize, dark: impl Fn(usize, usize) -> bool) -> Vec<String> {
        let shade = |x, y| if dark(x, y) { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, width, shade);
        image.detect_grids().iter().map(|grid| grid.decode().unwrap().1).collect()
    }

    /// What another library reads in the pixels of an SVG that is drawn `size` pixels wide.
    pub(crate) fn read_svg(svg: &str, size: usize) -> Vec<String> {
        let part = |before: &str, after: &str| svg.split_once(before).unwrap().1.split_once(after).unwrap().0;
        let modules: usize = part("viewBox=\"0 0 ", " ").parse().unwrap();
        let mut is_dark = vec![false; modules * modules];
        for run in part("d=\"", "\"").split('M').skip(1) {
            let (x, rest) = run.split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let length = rest.split_once('v').unwrap().0;
            let [x, y, length] = [x, y, length].map(|number| number.parse::<usize>().unwrap());
            is_dark[y * modules + x..][..length].fill(true);
        }
        read(size, |x, y| is_dark[y * modules / size * modules + x * modules / size])
    }

    #[test]
    fn another_library_reads_what_a_page_shows_at_the_size_it_is_shown() {
        for length in [30, 200, 400] {
            let text = format!("sensorlogger://config/{}", "aB3+/".repeat(length / 5));
            let code = Code::of(&text).unwrap();
            let svg = code.svg("ios", "iPhone").into_string();
            for size in [240, 320, 1000] {
                assert_eq!(read_svg(&svg, size), [text.as_str()], "{length} characters, {size} pixels");
            }
        }
        assert!(Code::of(&"x".repeat(3000)).is_err());
    }

    #[test]
    fn another_library_reads_what_a_terminal_shows() {
        let text = "HTTP://192.168.178.100:8000/E/MWM3SVH2G7ZJFSJ3YW83";
        let code = Code::of(text).unwrap();
        let lines = code.lines();
        let cells: Vec<Vec<char>> = lines
            .iter()
            .map(|line| {
                let line = line.strip_prefix(BLACK_ON_WHITE).unwrap().strip_suffix(AS_BEFORE).unwrap();
                line.chars().collect()
            })
            .collect();
        assert!(cells.iter().all(|line| line.len() == code.width()) && lines.len() <= 19, "{lines:?}");
        let dark = |x: usize, y: usize| {
            let (x, y) = (x / 4, y / 4);
            matches!((cells[y / 2][x], y % 2), ('█', _) | ('▀', 0) | ('▄', 1))
        };
        assert_eq!(read(code.width() * 4, dark), [text]);
    }
}
