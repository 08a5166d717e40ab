// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

/// @title What holds each element of a model's input to a range of its own
/// @notice Named by a model's registration; asked at each of its requests, before any money moves,
///         and never after that: it cannot touch a request that was made.
interface IInputChecker {
    /// @notice Revert unless every element of every whole row is in its range: with
    ///         `IModelErrors.InputRange`, with the text codec `IModelErrors.TextRange`. Both name the
    ///         element by its place in the whole input.
    /// @param input One row or several, one after the other, as in a request.
    /// @param codec How they are written: 0 = packed, 1 = text.
    /// @param width Bytes of a packed element.
    /// @param scale Fractional bits.
    function check(bytes calldata input, uint8 codec, uint8 width, uint8 scale) external view;

    /// @notice The range that holds all of the ranges.
    /// @return elements Number of ranges: elements of a row.
    /// @return minimum Least integer of any.
    /// @return maximum Greatest integer of any.
    function hull() external view returns (uint256 elements, int256 minimum, int256 maximum);

    /// @notice Least and greatest integer, both inclusive, of element `index` of a row.
    function rangeOf(uint256 index) external view returns (int256 minimum, int256 maximum);
}
