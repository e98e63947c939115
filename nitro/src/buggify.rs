//! Tricks: what may happen at any time and rarely does, played on purpose where a simulated run
//! asks for it. A real machine plays none.
//!
//! ```
//! # let host = nitro::host::tokio::host();
//! # let batch = 100;
//! // A batch may be of any size: let some be of one.
//! let batch = if nitro::buggify!(host.entropy, "a batch of one") { 1 } else { batch };
//! # assert_eq!(batch, 100);
//! ```
//!
//! A trick does what the world may do as well, and no more: whatever holds, holds with it. In one
//! run a quarter of all sites are active, and an active one plays a quarter of the times that it is
//! come by, so that runs differ in what goes wrong and not only in when.
//!
//! Source: FoundationDB's BUGGIFY.

#[doc(hidden)]
pub use linkme;

/// The share of the sites that are active in one run.
pub const ACTIVE_SHARE: f64 = 0.25;

/// The share of the times that an active site plays.
pub const PLAYED_SHARE: f64 = 0.25;

/// A place in the program where a trick may be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its module and what the trick is, which together are nobody else's.
    pub name: &'static str,
    /// The file it stands in.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
}

/// The sites of the whole program, which the linker puts side by side: constant, and in no order.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static SITES: [Site];

/// The sites of the whole program, by name.
pub fn sites() -> Vec<Site> {
    let mut sites = SITES.to_vec();
    sites.sort_by_key(|site| (site.name, site.line));
    sites
}

/// Whether to play a trick here, as an [`Entropy`](crate::host::Entropy) says.
#[macro_export]
macro_rules! buggify {
    ($entropy:expr, $trick:literal $(,)?) => {
        $crate::__trick!([] $entropy, $trick)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __trick {
    ([$(#[$attribute:meta])*] $entropy:expr, $trick:literal) => {{
        $(#[$attribute])*
        #[$crate::buggify::linkme::distributed_slice($crate::buggify::SITES)]
        #[linkme(crate = $crate::buggify::linkme)]
        static SITE: $crate::buggify::Site = $crate::buggify::Site {
            name: ::core::concat!(::core::module_path!(), ": ", $trick),
            file: ::core::file!(),
            line: ::core::line!(),
        };
        $entropy.buggify(SITE.name)
    }};
}

/// A trick of nitro itself, where the lint sees what another crate's macro may do: that the linker
/// is told where to put a constant.
macro_rules! trick {
    ($entropy:expr, $trick:literal) => {
        $crate::__trick!(
            [#[allow(unsafe_code, reason = "a section for the linker")]]
            $entropy,
            $trick
        )
    };
}
pub(crate) use trick;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    #[test]
    fn a_real_machine_plays_no_tricks_and_every_site_is_known_by_a_name_of_its_own() {
        let host = host::tokio::host();
        assert!((0..100).all(|_| !trick!(host.entropy, "of a test")));
        let sites = sites();
        let own = sites.iter().find(|site| site.name.ends_with(": of a test"));
        assert_eq!(
            own.map(|site| site.name),
            Some("nitro::buggify::tests: of a test")
        );
        for pair in sites.windows(2) {
            assert_ne!(pair[0].name, pair[1].name);
        }
    }
}
