//! Out of gas at every instruction: each hand-written program at every gas limit up to what it
//! uses, and around each step where its own gas readings change.

mod common;

use common::case::Case;
use common::native::check;
use common::programs::{ALL, Program};
use revmc::primitives::SpecId;

/// Programs that use no more gas than this are run with every limit; of longer ones only some.
const EVERY_LIMIT_UP_TO: u64 = 1200;

/// For a longer program: limits spread over its run, and every one at its beginning and end.
const SPREAD: u64 = 120;
const AT_THE_ENDS: u64 = 60;

fn limits(used: u64) -> Vec<u64> {
    if used <= EVERY_LIMIT_UP_TO {
        return (0..=used + 1).collect();
    }
    let spread = (0..used).step_by((used / SPREAD) as usize);
    spread
        .chain(0..AT_THE_ENDS)
        .chain(used - AT_THE_ENDS..=used + 1)
        .collect()
}

fn sweep(table: &[Program], fork: SpecId) {
    for (name, text) in table {
        let case = Case::asm(text).on(fork).input([0u8; 40]);
        let full = check(name, &case);
        // A halt uses all gas; such a program is swept up to a limit that covers what it does.
        let used = match full.result.is_error() {
            true => EVERY_LIMIT_UP_TO,
            false => case.gas_limit - full.result.gas.remaining(),
        };
        for gas_limit in limits(used) {
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
