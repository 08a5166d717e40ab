// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

/// @title Packed tensors: request bytes <-> integers <-> field elements
/// @notice Packed bytes are big-endian two's complement, `width` bytes an element, no padding. A
///         negative integer v is the field element `R - |v|`. Twin of `oracle/tensor.py`.
/// @dev `width` is 1 to 14, as the registry guarantees, so every element is far below `R / 2`.
library TensorCodec {
    /// @notice Order of BN254's scalar field.
    uint256 internal constant R =
        21888242871839275222246405745257275088548364400416034343698204186575808495617;

    /// @notice Input element `index` is outside the circuit's range.
    error InputRange(uint256 index, int256 value);
    /// @notice The number of outputs is not the model's, or one of them is out of range.
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

    /// @notice Revert with `InputRange` unless all `length` elements are in [minimum, maximum].
    function check(
        bytes calldata data,
        uint256 length,
        uint256 width,
        int256 minimum,
        int256 maximum
    ) internal pure {
        for (uint256 i = 0; i < length; ++i) {
            int256 value = element(data, i, width);
            if (value < minimum || value > maximum) revert InputRange(i, value);
        }
    }

    /// @notice Write `length` packed elements into `fields[0:length]` as field elements.
    function toFields(bytes calldata data, uint256 length, uint256 width, uint256[] memory fields)
        internal
        pure
    {
        for (uint256 i = 0; i < length; ++i) {
            int256 value = element(data, i, width);
            // Negative: the two's complement sum wraps to R - |value|.
            unchecked {
                fields[i] = value < 0 ? R + uint256(value) : uint256(value);
            }
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
        for (uint256 i = 0; i < fields.length; ++i) {
            uint256 field = fields[i];
            if (field >= R) revert InvalidOutput();
            int256 value = field > R / 2 ? -int256(R - field) : int256(field);
            if (value < minimum || value > maximum) revert InvalidOutput();
            assembly ("memory-safe") {
                mstore(add(add(data, 32), mul(i, width)), shl(sub(256, mul(8, width)), value))
            }
        }
        assembly ("memory-safe") {
            mstore(data, length)
        }
    }
}
