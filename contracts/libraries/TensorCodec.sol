// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

// solhint-disable no-inline-assembly

import {IModelErrors} from "../interfaces/IModelErrors.sol";

/// @title Packed tensors: request bytes <-> integers <-> field elements
/// @notice Packed bytes are big-endian two's complement, `width` bytes an element, no padding. A
///         negative integer v is the field element `R - |v|`. Twin of `oracle/tensor.py`.
/// @dev `width` is 1 to 32 and bounds are within the field, as the registry guarantees.
library TensorCodec {
    /// @notice Order of BN254's scalar field.
    uint256 internal constant R =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;

    /// @notice An output is not a canonical field element, or out of the model's range.
    error InvalidOutput();

    /// @notice Element `index` of packed bytes. The caller has checked the length.
    function element(bytes calldata data, uint256 index, uint256 width)
        internal
        pure
        returns (int256 value)
    {
        // Loads 32 bytes from the element's first byte; the arithmetic shift drops what follows it
        // and extends the sign.
        assembly ("memory-safe") {
            value := sar(sub(256, mul(8, width)), calldataload(add(data.offset, mul(index, width))))
        }
    }

    /// @notice Packed bytes as integers. Bytes beyond the last whole element are ignored.
    function unpack(bytes calldata data, uint256 width)
        internal
        pure
        returns (int256[] memory values)
    {
        values = new int256[](data.length / width);
        for (uint256 i = 0; i < values.length; ++i) {
            values[i] = element(data, i, width);
        }
    }

    /// @notice Revert with `IModelErrors.InputRange` unless all `length` elements are in
    ///         [minimum, maximum].
    /// @dev The bounds' difference is below 2^256, so `value - minimum`, as an unsigned number, is
    ///      greater than it exactly for values outside.
    function check(
        bytes calldata data,
        uint256 length,
        uint256 width,
        int256 minimum,
        int256 maximum
    ) internal pure {
        bool outside;
        assembly ("memory-safe") {
            let shift := sub(256, mul(8, width))
            let span := sub(maximum, minimum)
            let position := data.offset
            let end := add(position, mul(length, width))
            // Four at a time, for three quarters less of the loop's own cost; then the rest.
            let wide := mul(4, width)
            for {} iszero(gt(add(position, wide), end)) {} {
                let bad := gt(sub(sar(shift, calldataload(position)), minimum), span)
                position := add(position, width)
                bad := or(bad, gt(sub(sar(shift, calldataload(position)), minimum), span))
                position := add(position, width)
                bad := or(bad, gt(sub(sar(shift, calldataload(position)), minimum), span))
                position := add(position, width)
                bad := or(bad, gt(sub(sar(shift, calldataload(position)), minimum), span))
                position := add(position, width)
                outside := or(outside, bad)
            }
            for {} lt(position, end) { position := add(position, width) } {
                outside := or(
                    outside, gt(sub(sar(shift, calldataload(position)), minimum), span)
                )
            }
        }
        if (outside) _revertWithFirst(data, length, width, minimum, maximum);
    }

    /// @notice Write `length` packed elements into `fields[offset:offset + length]` as field
    ///         elements. The caller has checked both lengths.
    function toFields(
        bytes calldata data,
        uint256 length,
        uint256 width,
        uint256[] memory fields,
        uint256 offset
    ) internal pure {
        uint256 modulus = R;
        assembly ("memory-safe") {
            let shift := sub(256, mul(8, width))
            let source := data.offset
            let target := add(add(fields, 32), mul(offset, 32))
            for { let end := add(target, mul(length, 32)) } lt(target, end) {
                target := add(target, 32)
            } {
                let value := sar(shift, calldataload(source))
                // Negative: the two's complement sum wraps to R - |value|.
                mstore(target, add(value, mul(modulus, slt(value, 0))))
                source := add(source, width)
            }
        }
    }

    /// @notice Write all of `source` into `fields` from `offset` on. The caller has checked the
    ///         lengths.
    function copyCalldata(uint256[] calldata source, uint256[] memory fields, uint256 offset)
        internal
        pure
    {
        assembly ("memory-safe") {
            calldatacopy(
                add(add(fields, 32), mul(offset, 32)), source.offset, mul(source.length, 32)
            )
        }
    }

    /// @notice Pack field elements; revert with `InvalidOutput` unless each is canonical (below R)
    ///         and its integer is in [minimum, maximum].
    function pack(uint256[] calldata fields, uint256 width, int256 minimum, int256 maximum)
        internal
        pure
        returns (bytes memory data)
    {
        uint256 length = fields.length * width;
        // The last element is written as a whole word: 32 bytes of slack, cut off below.
        data = new bytes(length + 32);
        uint256 shift = 256 - 8 * width;
        uint256 position;
        assembly ("memory-safe") {
            position := add(data, 32)
        }
        for (uint256 i = 0; i < fields.length; ++i) {
            int256 value = toInteger(fields[i], minimum, maximum);
            assembly ("memory-safe") {
                mstore(position, shl(shift, value))
                position := add(position, width)
            }
        }
        assembly ("memory-safe") {
            mstore(data, length)
        }
    }

    /// @notice The integer behind an output's field element; reverts with `InvalidOutput` unless the
    ///         element is canonical and its integer in [minimum, maximum].
    function toInteger(uint256 field, int256 minimum, int256 maximum)
        internal
        pure
        returns (int256 value)
    {
        if (field >= R) revert InvalidOutput();
        // Below R, so no difference leaves the word; the upper half stands for negative integers.
        unchecked {
            value = field > R / 2 ? int256(field - R) : int256(field);
        }
        if (value < minimum || value > maximum) revert InvalidOutput();
    }

    function _revertWithFirst(
        bytes calldata data,
        uint256 length,
        uint256 width,
        int256 minimum,
        int256 maximum
    ) private pure {
        for (uint256 i = 0; i < length; ++i) {
            int256 value = element(data, i, width);
            if (value < minimum || value > maximum) revert IModelErrors.InputRange(i, value);
        }
    }
}
