//! Out of gas at every instruction: each hand-written program at every gas limit up to what it
//! uses, and around each step where its own gas readings change.

mod common;

use common::case::Case;
use common::native::check;
use common::programs::{ALL, Program};
use revmc::primitives::SpecId;

/// Above this many different gas limits, only some are tried.
const EVERY_LIMIT_UP_TO: u64 = 1500;

fn sweep(table: &[Program], fork: SpecId) {
    for (name, text) in table {
        let case = Case::asm(text).on(fork).input([0u8; 40]);
        let full = check(name, &case);
        // A halt uses all gas; such a program is swept up to a limit that covers what it does.
        let used = match full.result.is_error() {
            true => 3_000,
            false => case.gas_limit - full.result.gas.remaining(),
        };
        let stride = (used / EVERY_LIMIT_UP_TO).max(1);
        let spread = (0..=used).step_by(stride as usize);
        let low = 0..used.min(EVERY_LIMIT_UP_TO / 4);
        let high = used.saturating_sub(EVERY_LIMIT_UP_TO / 4)..=used + 2;
        for gas_limit in spread.chain(low).chain(high) {
            check(name, &case.clone().gas(gas_limit));
        }
    }
}

macro_rules! sweeps {
    ($($test:ident: $index:expr, $fork:ident;)*) => {$(
        #[test]
        fn $test() {
            sweep(ALL[$index].1, SpecId::$fork);
        }
    )*};
}

sweeps! {
    arithmetic_cancun: 0, CANCUN;
    arithmetic_frontier: 0, FRONTIER;
    memory_cancun: 1, CANCUN;
    memory_byzantium: 1, BYZANTIUM;
    control_cancun: 2, CANCUN;
    control_homestead: 2, HOMESTEAD;
    environment_cancun: 3, CANCUN;
    environment_istanbul: 3, ISTANBUL;
    environment_petersburg: 3, PETERSBURG;
    environment_london: 3, LONDON;
    calls_cancun: 4, CANCUN;
    calls_frontier: 4, FRONTIER;
    calls_tangerine: 4, TANGERINE;
    calls_petersburg: 4, PETERSBURG;
    calls_istanbul: 4, ISTANBUL;
    calls_berlin: 4, BERLIN;
}
