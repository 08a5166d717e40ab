// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// solhint-disable no-inline-assembly

import {IModelErrors} from "../interfaces/IModelErrors.sol";
import {TensorCodec} from "./TensorCodec.sol";

/// @title Decimal numbers in ASCII <-> integers <-> field elements
/// @notice A number is an optional sign, 1 to 38 digits and, if a point follows, 1 to 18 more.
///         Separators are comma, space, [, ], LF and CR; they may repeat and mean nothing else. The
///         integer is number * 2**scale, rounded half away from zero. Results have six fraction
///         digits and a comma between numbers. Twin of `oracle/tensor.py`.
/// @dev Scales are at most 64, as the registry guarantees: 10^56 * 2^65 fits a word.
library TextCodec {
    uint256 private constant MAX_WHOLE_DIGITS = 38;
    uint256 private constant MAX_FRACTION_DIGITS = 18;
    uint256 private constant RESULT_DIGITS = 6;
    uint256 private constant RESULT_UNIT = 10 ** RESULT_DIGITS;
    // Sign, whole digits of a 256-bit number, point, fraction, comma.
    uint256 private constant RESULT_MAX_BYTES = 1 + 78 + 1 + RESULT_DIGITS + 1;
    // Bit c is set for each separator c.
    uint256 private constant SEPARATORS =
        (1 << 0x2c) | (1 << 0x20) | (1 << 0x5b) | (1 << 0x5d) | (1 << 0x0a) | (1 << 0x0d);

    /// @notice Revert unless the text is well formed and all its numbers are in range.
    /// @return count How many numbers it has.
    function check(bytes calldata text, uint256 scale, int256 minimum, int256 maximum)
        internal
        pure
        returns (uint256 count)
    {
        uint256 position = skip(text, 0);
        while (position < text.length) {
            int256 value;
            (value, position) = number(text, position, scale);
            if (value < minimum || value > maximum) revert IModelErrors.TextRange(count, value);
            ++count;
        }
    }

    /// @notice How many numbers a well-formed text has.
    function countNumbers(bytes calldata text) internal pure returns (uint256 count) {
        bool inside = false;
        for (uint256 i = 0; i < text.length; ++i) {
            bool separator = _isSeparator(uint8(text[i]));
            if (!separator && !inside) ++count;
            inside = !separator;
        }
    }

    /// @notice Write the text's numbers, `countNumbers` of them, into `fields` as field elements.
    function toFields(bytes calldata text, uint256 scale, uint256[] memory fields) internal pure {
        uint256 position = skip(text, 0);
        for (uint256 i = 0; i < fields.length; ++i) {
            int256 value;
            (value, position) = number(text, position, scale);
            // Negative: the two's complement sum wraps to R - |value|.
            unchecked {
                fields[i] = value < 0 ? TensorCodec.R + uint256(value) : uint256(value);
            }
        }
    }

    /// @notice Field elements as text; reverts with `TensorCodec.InvalidOutput` unless each is
    ///         canonical and its integer is in [minimum, maximum].
    function format(
        uint256[] calldata fields,
        uint256 scale,
        int256 minimum,
        int256 maximum
    ) internal pure returns (bytes memory text) {
        // Written from the end, where the digits begin, then moved to the front.
        uint256 size = fields.length * RESULT_MAX_BYTES;
        text = new bytes(size);
        uint256 start = size;
        for (uint256 i = fields.length; i > 0; --i) {
            int256 value = TensorCodec.toInteger(fields[i - 1], minimum, maximum);
            if (i < fields.length) text[--start] = ",";
            start = _write(text, start, value, scale);
        }
        assembly ("memory-safe") {
            let length := sub(size, start)
            mcopy(add(text, 32), add(add(text, 32), start), length)
            mstore(text, length)
        }
    }

    /// @notice The number that begins at `position`, and where the next one begins.
    function number(bytes calldata text, uint256 position, uint256 scale)
        internal
        pure
        returns (int256 value, uint256 next)
    {
        bytes1 sign = text[position];
        if (sign == "-" || sign == "+") ++position;
        (uint256 digits, uint256 end) = _digits(text, position, 0, MAX_WHOLE_DIGITS);
        uint256 unit = 1;
        if (end < text.length && text[end] == ".") {
            position = end + 1;
            (digits, end) = _digits(text, position, digits, MAX_FRACTION_DIGITS);
            unit = 10 ** (end - position);
        }
        next = skip(text, end);
        if (next == end && end < text.length) revert IModelErrors.TextSyntax(end);
        // Half away from zero: the magnitude is rounded half up.
        uint256 magnitude = ((digits << (scale + 1)) + unit) / (2 * unit);
        value = sign == "-" ? -int256(magnitude) : int256(magnitude);
    }

    /// @dev Append the digits at `position` (at least one, at most `limit`) to `digits`.
    function _digits(bytes calldata text, uint256 position, uint256 digits, uint256 limit)
        private
        pure
        returns (uint256, uint256 end)
    {
        for (end = position; end < text.length; ++end) {
            uint256 digit = uint256(uint8(text[end])) ^ 0x30;
            if (digit > 9) break;
            if (end - position == limit) revert IModelErrors.TextSyntax(end);
            digits = digits * 10 + digit;
        }
        if (end == position) revert IModelErrors.TextSyntax(end);
        return (digits, end);
    }

    /// @notice Where the first number at or behind `position` begins; the text's end if none does.
    function skip(bytes calldata text, uint256 position) internal pure returns (uint256) {
        while (position < text.length && _isSeparator(uint8(text[position]))) ++position;
        return position;
    }

    function _isSeparator(uint8 character) private pure returns (bool) {
        return (SEPARATORS >> character) & 1 == 1;
    }

    /// @dev Write `value / 2**scale` so that it ends before `end`; returns where it starts.
    function _write(bytes memory text, uint256 end, int256 value, uint256 scale)
        private
        pure
        returns (uint256 start)
    {
        uint256 magnitude = value < 0 ? uint256(-value) : uint256(value);
        // Whole and fraction apart, or the product would leave the word.
        uint256 whole = magnitude >> scale;
        uint256 fraction = magnitude & ((1 << scale) - 1);
        fraction = ((fraction * RESULT_UNIT << 1) + (1 << scale)) >> (scale + 1);
        if (fraction == RESULT_UNIT) (whole, fraction) = (whole + 1, 0);
        bool negative = value < 0 && (whole != 0 || fraction != 0);

        start = end;
        for (uint256 i = 0; i < RESULT_DIGITS; ++i) {
            text[--start] = bytes1(uint8(0x30 + fraction % 10));
            fraction /= 10;
        }
        text[--start] = ".";
        do {
            text[--start] = bytes1(uint8(0x30 + whole % 10));
            whole /= 10;
        } while (whole != 0);
        if (negative) text[--start] = "-";
    }
}
