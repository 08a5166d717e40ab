// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

/// @title Copies of field elements in memory
/// @notice Apart from `TensorCodec`, which consumers import: these need Cancun.
library FieldElements {
    /// @notice Write all of `source` into `fields` from `offset` on. The caller has checked the
    ///         lengths.
    function copy(uint256[] memory source, uint256[] memory fields, uint256 offset) internal pure {
        assembly ("memory-safe") {
            mcopy(add(add(fields, 32), mul(offset, 32)), add(source, 32), mul(mload(source), 32))
        }
    }

    /// @notice Copy the first row of `length` fields to row `row`. The caller has checked the
    ///         lengths.
    function repeat(uint256[] memory fields, uint256 length, uint256 row) internal pure {
        assembly ("memory-safe") {
            let first := add(fields, 32)
            let bytesPerRow := mul(length, 32)
            mcopy(add(first, mul(row, bytesPerRow)), first, bytesPerRow)
        }
    }
}
