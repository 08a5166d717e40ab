// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

/// @title What is wrong with a question to a model
/// @notice Thrown by registry, codecs and input checkers, and passed on by whoever asks them: declared
///         once, so that each contract whose calls can end with one has it in its ABI.
interface IModelErrors {
    /// @notice No model has this id.
    error UnknownModel(uint256 modelId);
    /// @notice No circuit of the model takes this many rows; `largest` is the most.
    error InvalidBatchSize(uint256 rows, uint256 largest);
    /// @notice Input element `index` is outside the circuit's range.
    error InputRange(uint256 index, int256 value);
    /// @notice The byte at `position` cannot stand there (it may be the end of the text), or it is a
    ///         digit too many.
    error TextSyntax(uint256 position);
    /// @notice Number `index` of a text is outside the circuit's range; `value` is its integer.
    error TextRange(uint256 index, int256 value);
}
