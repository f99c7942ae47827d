//! QR codes and links, read by other libraries than those that made them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Pixels of a page's code from side to side, as many as a phone shows.
const SHOWN: usize = 320;

/// What the one code says in an image of `width` by `height` pixels, each between 0, black, and 255, white.
pub(crate) fn read(width: usize, height: usize, shade: impl Fn(usize, usize) -> u8) -> String {
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, shade);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code is there");
    grids[0].decode().expect("the code can be read").1
}

/// The links of a set-up page: to tap, of the iPhone's code, of the Android's.
pub(crate) fn links(page: &str) -> [String; 3] {
    let between = |before: &str, after: &str| {
        let rest = page.split_once(before).unwrap_or_else(|| panic!("{before} is in {page}")).1;
        rest.split_once(after).unwrap().0
    };
    let tapped = between("class=\"open-app\" href=\"", "\"").to_owned();
    let [ios, android] = ["ios", "android"].map(|of| drawn(between(&format!("data-for=\"{of}\""), "</svg>")));
    [tapped, ios, android]
}

/// What the code of an SVG says whose dark modules are runs `Mx yhWIDTHv1…`.
fn drawn(svg: &str) -> String {
    let modules: usize = svg.split_once("viewBox=\"0 0 ").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
    let mut is_dark = vec![false; modules * modules];
    for run in svg.split_once(" d=\"").unwrap().1.split('M').skip(1) {
        let numbers: Vec<usize> =
            run.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
        is_dark[numbers[1] * modules + numbers[0]..][..numbers[2]].fill(true);
    }
    read(SHOWN, SHOWN, |x, y| if is_dark[y * modules / SHOWN * modules + x * modules / SHOWN] { 0 } else { 255 })
}

/// The configuration in a link.
pub(crate) fn config(link: &str) -> Value {
    let packed =
        STANDARD.decode(link.strip_prefix("sensorlogger://config/").expect("a link to a configuration")).unwrap();
    serde_json::from_slice(&zstd::bulk::decompress(&packed, 64 * 1024).unwrap()).unwrap()
}
