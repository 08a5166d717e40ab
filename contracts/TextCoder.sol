// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {TextCodec} from "./libraries/TextCodec.sol";

// solhint-disable no-inline-assembly

/// @title The text codec as a contract of its own
/// @notice Pure: no state, no owner. The oracle creates one and calls it for models with that codec,
///         which keeps the oracle's own code below the size limit.
contract TextCoder {
    constructor() {
        // Where MCOPY is missing this and the oracle could not do their work: nothing is deployed.
        assembly ("memory-safe") {
            mcopy(0, 0, 0)
        }
    }

    /// @notice Revert unless the text is well formed and all its numbers are in range.
    /// @return How many numbers it has.
    function check(bytes calldata text, uint256 scale, int256 minimum, int256 maximum)
        external
        pure
        returns (uint256)
    {
        return TextCodec.check(text, scale, minimum, maximum);
    }

    /// @notice How many numbers a well-formed text has.
    function countNumbers(bytes calldata text) external pure returns (uint256) {
        return TextCodec.countNumbers(text);
    }

    /// @notice The text's numbers as field elements.
    function toFields(bytes calldata text, uint256 scale)
        external
        pure
        returns (uint256[] memory fields)
    {
        fields = new uint256[](TextCodec.countNumbers(text));
        TextCodec.toFields(text, scale, fields);
    }

    /// @notice Field elements as text; reverts with `TensorCodec.InvalidOutput` unless each is
    ///         canonical and its integer is in [minimum, maximum].
    function format(uint256[] calldata fields, uint256 scale, int256 minimum, int256 maximum)
        external
        pure
        returns (bytes memory)
    {
        return TextCodec.format(fields, scale, minimum, maximum);
    }
}
