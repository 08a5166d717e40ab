// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

/// @notice What a request is checked and priced against, in the one word that a model stores it in:
///         decoding a struct from another contract would cost more than checking the request.
///
///         From the lowest bit: verifier gas (32 bits, never zero for a registered model), fee of
///         one row (96), elements of an input row (16), bytes of a packed input element (8),
///         fractional bits of the input (8), elements of an output row (16), codec (8), flags (8),
///         least and greatest input integer (32 each, signed; see `WIDE_INPUT`).
type RequestTerms is uint256;

using RequestTermsLibrary for RequestTerms global;

/// @title The fields of `RequestTerms`
library RequestTermsLibrary {
    /// @notice No new requests.
    uint256 internal constant CLOSED = 1;
    /// @notice The fee is in a token.
    uint256 internal constant HAS_TOKEN = 2;
    /// @notice Packed, the input has no bounds to check besides: its range is all that its width can
    ///         say, or `HAS_CHECKER`.
    uint256 internal constant INPUT_UNBOUNDED = 4;
    /// @notice The input's range is beyond 32 bits: `IModelRegistry.checkInput` has it.
    uint256 internal constant WIDE_INPUT = 8;
    /// @notice Input elements have ranges of their own: `IModelRegistry.checkInput` holds them.
    uint256 internal constant HAS_CHECKER = 16;

    uint256 private constant FEE = 32;
    uint256 private constant INPUT_LENGTH = 128;
    uint256 private constant INPUT_WIDTH = 144;
    uint256 private constant INPUT_SCALE = 152;
    uint256 private constant OUTPUT_LENGTH = 160;
    uint256 private constant CODEC = 176;
    uint256 private constant FLAGS = 184;
    uint256 private constant INPUT_MINIMUM = 192;
    uint256 private constant INPUT_MAXIMUM = 224;

    /// @notice The word of these fields.
    function pack(
        uint32 verifyGas_,
        uint96 fee_,
        uint16 inputLength_,
        uint8 inputWidth_,
        uint8 inputScale_,
        uint16 outputLength_,
        uint8 codec_
    ) internal pure returns (RequestTerms) {
        return RequestTerms.wrap(
            uint256(verifyGas_) | uint256(fee_) << FEE | uint256(inputLength_) << INPUT_LENGTH
                | uint256(inputWidth_) << INPUT_WIDTH | uint256(inputScale_) << INPUT_SCALE
                | uint256(outputLength_) << OUTPUT_LENGTH | uint256(codec_) << CODEC
        );
    }

    /// @notice The word with some flags set as well.
    function with(RequestTerms terms, uint256 flags) internal pure returns (RequestTerms) {
        return RequestTerms.wrap(RequestTerms.unwrap(terms) | flags << FLAGS);
    }

    /// @notice The word, so far without bounds, with these.
    function withBounds(RequestTerms terms, int32 minimum, int32 maximum)
        internal
        pure
        returns (RequestTerms)
    {
        return RequestTerms.wrap(
            RequestTerms.unwrap(terms) | uint256(uint32(minimum)) << INPUT_MINIMUM
                | uint256(uint32(maximum)) << INPUT_MAXIMUM
        );
    }

    /// @notice The word with the verifier gas of another circuit.
    function withVerifyGas(RequestTerms terms, uint32 gasLimit)
        internal
        pure
        returns (RequestTerms)
    {
        uint256 word = RequestTerms.unwrap(terms);
        return RequestTerms.wrap(word ^ uint32(word) ^ gasLimit);
    }

    /// @notice Whether any of these flags is set.
    function has(RequestTerms terms, uint256 flags) internal pure returns (bool) {
        return RequestTerms.unwrap(terms) & flags << FLAGS != 0;
    }

    /// @notice Whether there is such a model.
    function exists(RequestTerms terms) internal pure returns (bool) {
        return terms.verifyGas() != 0;
    }

    /// @notice Whether there is such a model and it takes new requests.
    function isOpen(RequestTerms terms) internal pure returns (bool) {
        return terms.exists() && !terms.has(CLOSED);
    }

    /// @notice Gas given to a verifier call.
    function verifyGas(RequestTerms terms) internal pure returns (uint32) {
        return uint32(RequestTerms.unwrap(terms));
    }

    /// @notice Price of one row, in the model's currency.
    function fee(RequestTerms terms) internal pure returns (uint96) {
        return uint96(RequestTerms.unwrap(terms) >> FEE);
    }

    /// @notice Elements of an input row.
    function inputLength(RequestTerms terms) internal pure returns (uint16) {
        return uint16(RequestTerms.unwrap(terms) >> INPUT_LENGTH);
    }

    /// @notice Bytes of a packed input element.
    function inputWidth(RequestTerms terms) internal pure returns (uint8) {
        return uint8(RequestTerms.unwrap(terms) >> INPUT_WIDTH);
    }

    /// @notice Fractional bits of the input.
    function inputScale(RequestTerms terms) internal pure returns (uint8) {
        return uint8(RequestTerms.unwrap(terms) >> INPUT_SCALE);
    }

    /// @notice Elements of an output row.
    function outputLength(RequestTerms terms) internal pure returns (uint16) {
        return uint16(RequestTerms.unwrap(terms) >> OUTPUT_LENGTH);
    }

    /// @notice How request and result bytes carry the tensors: 0 = packed, 1 = text.
    function codec(RequestTerms terms) internal pure returns (uint8) {
        return uint8(RequestTerms.unwrap(terms) >> CODEC);
    }

    /// @notice Least and greatest input integer, unless `WIDE_INPUT`.
    function inputBounds(RequestTerms terms)
        internal
        pure
        returns (int256 minimum, int256 maximum)
    {
        minimum = int32(uint32(RequestTerms.unwrap(terms) >> INPUT_MINIMUM));
        maximum = int256(RequestTerms.unwrap(terms)) >> INPUT_MAXIMUM;
    }
}
