// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

import {IInputChecker} from "./interfaces/IInputChecker.sol";
import {IModelErrors} from "./interfaces/IModelErrors.sol";
import {IModelRegistry} from "./interfaces/IModelRegistry.sol";
import {TensorCodec} from "./libraries/TensorCodec.sol";
import {TextCodec} from "./libraries/TextCodec.sol";

/// @title The ranges of one model's input elements
/// @notice No state, no owner. The ranges are the end of the contract's own code: minimum and maximum
///         of each element in turn, `width` bytes of two's complement each; then the number of
///         elements (two bytes) and `width` (one). Reading them costs a few gas each, where storage
///         would cost thousands.
/// @dev Deployed by code that returns this contract's code and the ranges behind it, as
///      `oracle/chain/input_ranges.py` makes it. So the code of a model's checker follows from its
///      ranges alone, and whoever compares the code has compared the ranges.
contract InputRanges is IInputChecker {
    uint256 private constant TRAILER_BYTES = 3;
    uint8 private constant CODEC_PACKED = 0;

    /// @notice A row has no such element.
    error NoSuchElement(uint256 index, uint256 elements);

    /// @inheritdoc IInputChecker
    function check(bytes calldata input, uint8 codec, uint8 width, uint8 scale) external pure {
        (bytes memory ranges, uint256 length, uint256 rangeWidth) = _ranges();
        if (codec == CODEC_PACKED) {
            bytes calldata rows = input[:input.length - input.length % (length * width)];
            if (_anyOutside(rows, width, ranges, rangeWidth)) {
                _revertWithFirst(rows, width, ranges, rangeWidth);
            }
            return;
        }
        uint256 position = TextCodec.skip(input, 0);
        for (uint256 i = 0; position < input.length; ++i) {
            int256 value;
            (value, position) = TextCodec.number(input, position, scale);
            (int256 minimum, int256 maximum) = _range(ranges, i % length, rangeWidth);
            if (value < minimum || value > maximum) revert IModelErrors.TextRange(i, value);
        }
    }

    /// @inheritdoc IInputChecker
    function hull() external pure returns (uint256 elements, int256 minimum, int256 maximum) {
        bytes memory ranges;
        uint256 rangeWidth;
        (ranges, elements, rangeWidth) = _ranges();
        (minimum, maximum) = (type(int256).max, type(int256).min);
        for (uint256 i = 0; i < elements; ++i) {
            (int256 least, int256 greatest) = _range(ranges, i, rangeWidth);
            if (least > greatest) revert IModelRegistry.EmptyRange(i);
            if (least < minimum) minimum = least;
            if (greatest > maximum) maximum = greatest;
        }
    }

    /// @inheritdoc IInputChecker
    function rangeOf(uint256 index) external pure returns (int256 minimum, int256 maximum) {
        (bytes memory ranges, uint256 length, uint256 rangeWidth) = _ranges();
        if (index >= length) revert NoSuchElement(index, length);
        return _range(ranges, index, rangeWidth);
    }

    /// @dev The end of this contract's code.
    function _ranges()
        private
        pure
        returns (bytes memory ranges, uint256 length, uint256 rangeWidth)
    {
        uint256 trailer;
        assembly ("memory-safe") {
            codecopy(0, sub(codesize(), 32), 32)
            trailer := mload(0)
        }
        rangeWidth = uint8(trailer);
        length = uint16(trailer >> 8);
        uint256 size = 2 * rangeWidth * length;
        ranges = new bytes(size);
        assembly ("memory-safe") {
            codecopy(add(ranges, 32), sub(codesize(), add(size, TRAILER_BYTES)), size)
        }
    }

    function _range(bytes memory ranges, uint256 index, uint256 rangeWidth)
        private
        pure
        returns (int256 minimum, int256 maximum)
    {
        // As in `TensorCodec.element`: the shift drops what follows and extends the sign.
        assembly ("memory-safe") {
            let shift := sub(256, mul(8, rangeWidth))
            let position := add(add(ranges, 32), mul(index, mul(2, rangeWidth)))
            minimum := sar(shift, mload(position))
            maximum := sar(shift, mload(add(position, rangeWidth)))
        }
    }

    /// @dev Whether an element of packed rows is outside of its range. As in `TensorCodec.check`: no
    ///      range is empty, so `value - minimum`, as an unsigned number, is greater than the bounds'
    ///      difference exactly for values outside.
    function _anyOutside(
        bytes calldata rows,
        uint256 width,
        bytes memory ranges,
        uint256 rangeWidth
    ) private pure returns (bool outside) {
        assembly ("memory-safe") {
            let shift := sub(256, mul(8, width))
            let rangeShift := sub(256, mul(8, rangeWidth))
            let first := add(ranges, 32)
            let last := add(first, mload(ranges))
            let position := rows.offset
            for { let end := add(position, rows.length) } lt(position, end) {} {
                for { let range := first } lt(range, last) {} {
                    let minimum := sar(rangeShift, mload(range))
                    range := add(range, rangeWidth)
                    let span := sub(sar(rangeShift, mload(range)), minimum)
                    range := add(range, rangeWidth)
                    outside := or(
                        outside, gt(sub(sar(shift, calldataload(position)), minimum), span)
                    )
                    position := add(position, width)
                }
            }
        }
    }

    function _revertWithFirst(
        bytes calldata rows,
        uint256 width,
        bytes memory ranges,
        uint256 rangeWidth
    ) private pure {
        uint256 length = ranges.length / (2 * rangeWidth);
        uint256 elements = rows.length / width;
        for (uint256 i = 0; i < elements; ++i) {
            (int256 minimum, int256 maximum) = _range(ranges, i % length, rangeWidth);
            int256 value = TensorCodec.element(rows, i, width);
            if (value < minimum || value > maximum) revert IModelErrors.InputRange(i, value);
        }
    }
}
