// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {IModelErrors} from "./IModelErrors.sol";
import {RequestTerms} from "../libraries/RequestTerms.sol";

/// @title Append-only registry of proved models
/// @notice A registered model never changes: a better model is a new id. Its publisher can only
///         stop new requests and name a successor; open requests are served as they were made.
interface IModelRegistry is IModelErrors {
    /// @notice How a circuit's proofs are made and checked, and so what set-up they need. Whatever the
    ///         system, the verifier answers as `IVerifier`.
    /// @dev `Halo2Kzg`: PLONK by halo2 with KZG commitments over BN254, as ezkl makes them; the set-up is
    ///      a structured reference string that serves every circuit of its size. `Groth16`: a set-up for
    ///      each circuit, on top of a common one. `Stark`: hash-based, without set-up. `Unknown` cannot
    ///      be registered.
    enum ProofSystem {
        Unknown,
        Halo2Kzg,
        Groth16,
        Stark
    }

    /// @notice What the input of a request is.
    /// @dev `Values`: the model's input itself, fixed-point integers in a range. `Commitment`: field
    ///      elements that commit to an input which the requester keeps; the circuit opens them.
    enum InputKind {
        Values,
        Commitment
    }

    /// @notice Who could forge a model's answers, the least trustworthy first: `trustOf(id).kind >=
    ///         Trust.Ceremony` is what a consumer may require.
    /// @dev `OneParty`: whoever made a set-up alone; local chains only. `Ceremony`: all participants of
    ///      a ceremony of the model's own together, nobody if one was honest; its transcript shows who
    ///      they were. `UniversalCeremony`: likewise, of the Perpetual Powers of Tau. `Transparent`:
    ///      nobody; there is no secret.
    enum Trust {
        OneParty,
        Ceremony,
        UniversalCeremony,
        Transparent
    }

    /// @notice The weakest of a model's circuits.
    /// @param kind See `Trust`.
    /// @param transcriptHash If `Ceremony`: SHA-256 of its transcript. A number of contributors alone
    ///        says nothing: require a transcript that you have checked.
    /// @param contributors If `Ceremony`: how many contributed, as the publisher states it.
    struct SetupTrust {
        Trust kind;
        bytes32 transcriptHash;
        uint16 contributors;
    }

    /// @notice A flat tensor of fixed-point integers: real value = integer / 2**scale.
    /// @param elements How many one row has.
    /// @param width Bytes per element in the packed codec, 1 to 32.
    /// @param scale Fractional bits (at most 64 with the text codec).
    /// @param minimum Least integer the circuit accepts; at least -(R - 1) / 2. Of commitments, 0.
    /// @param maximum Greatest integer the circuit accepts; at most (R - 1) / 2. Of commitments, R - 1.
    struct Tensor {
        uint16 elements;
        uint8 width;
        uint8 scale;
        int256 minimum;
        int256 maximum;
    }

    /// @notice A circuit of the model, for a number of rows, and its verifier.
    /// @param verifier The generated verifier contract.
    /// @param codeHash `EXTCODEHASH` of the verifier; checked at registration and at every use.
    /// @param verifyGas Gas given to one verifier call; the call fails if it needs more.
    /// @param size Rows that one proof covers.
    /// @param system Its proof system.
    /// @param artifactHash SHA-256 of what the circuit is made from besides the model: of `Halo2Kzg`
    ///        the pinned ezkl settings, of `Groth16` the R1CS.
    /// @param vkHash SHA-256 of the verifying key.
    /// @param setupHash SHA-256 of the set-up that key and verifier were made with: of `Halo2Kzg` the
    ///        structured reference string, which differs by circuit size, of `Groth16` the powers of
    ///        tau of its first phase, of `Stark` zero.
    struct Verifier {
        address verifier;
        bytes32 codeHash;
        uint32 verifyGas;
        uint16 size;
        ProofSystem system;
        bytes32 artifactHash;
        bytes32 vkHash;
        bytes32 setupHash;
    }

    /// @notice Everything a requester, a node or an auditor must know about a model.
    /// @param onnxHash SHA-256 of the ONNX file that the circuits are made from.
    /// @param codec How request and result bytes carry the tensors: 0 = packed, 1 = text.
    /// @param tagLimbs Number of tag inputs of the circuits.
    /// @param tagBits Bits per tag input.
    /// @param inputKind What the input is. Of commitments, elements are packed, 32 bytes each: whole
    ///        field elements, without scale, range or checker.
    /// @param input Shape of one input.
    /// @param output Shape of one output.
    /// @param inputChecker Holds each input element to a range of its own, within that of `input`;
    ///        zero where that one range serves all.
    /// @param token Currency of the fee: an ERC-20, or zero for ETH.
    /// @param fee Price of one inference in `token`, gas money (always ETH) not included.
    /// @param receiver Who gets the publisher's share of the fee.
    /// @param receiverBps Publisher's share in basis points, of the fee less the protocol's share.
    /// @param transcriptHash SHA-256 of the transcript of the ceremony, both phases, in which the keys of
    ///        all `Groth16` circuits were made; zero without one.
    /// @param contributors How many contributed to it, at least 2; zero without one.
    /// @param verifiers One per batch size, ascending; the first has size 1. At most 16.
    struct Model {
        bytes32 onnxHash;
        uint8 codec;
        uint8 tagLimbs;
        uint8 tagBits;
        InputKind inputKind;
        Tensor input;
        Tensor output;
        address inputChecker;
        address token;
        uint96 fee;
        address receiver;
        uint16 receiverBps;
        bytes32 transcriptHash;
        uint16 contributors;
        Verifier[] verifiers;
    }

    /// @notice What a result of some rows is checked and paid against.
    /// @dev In the order of the model's data contract, which `ModelData` reads.
    /// @param sizes Rows of each of the model's circuits, 16 bits each, the least lowest.
    /// @param verifier Verifier of the smallest circuit that is large enough.
    /// @param codeHash What its code must hash to.
    /// @param verifyGas Gas given to it.
    /// @param size Rows of the circuit.
    struct ProofTerms {
        uint256 sizes;
        address token;
        address receiver;
        uint16 receiverBps;
        uint8 codec;
        uint8 tagLimbs;
        uint8 tagBits;
        uint16 inputLength;
        uint8 inputWidth;
        uint8 inputScale;
        uint16 outputLength;
        uint8 outputWidth;
        uint8 outputScale;
        int256 outputMinimum;
        int256 outputMaximum;
        address verifier;
        bytes32 codeHash;
        uint32 verifyGas;
        uint16 size;
    }

    /// @notice A model was registered.
    event ModelRegistered(
        uint256 indexed modelId, address indexed publisher, address indexed verifier, bytes32 onnxHash
    );
    /// @notice A model takes no new requests any more.
    event ModelClosed(uint256 indexed modelId);
    /// @notice The publisher recommends a newer model. Nothing else follows from it.
    event ModelSucceeded(uint256 indexed modelId, uint256 indexed successor);

    /// @notice Only the model's publisher may do this.
    error NotPublisher(uint256 modelId, address caller);
    /// @notice The verifier address has no code, or other code than declared.
    error VerifierCodeMismatch(address verifier, bytes32 actual, bytes32 declared);
    /// @notice A field of the model is outside its bounds; `field` is its name in ASCII.
    error InvalidModel(bytes32 field);
    /// @notice The input checker has no integer at all for element `index`.
    error EmptyRange(uint256 index);
    /// @notice The circuit of `size` rows is registered with a set-up that is no ceremony's: whoever
    ///         made it can forge proofs. Only the local chains 1337 and 31337 take one.
    error UnsafeSetup(uint256 size, bytes32 setupHash);
    /// @notice The verifier is an account that runs another's code (EIP-7702): its key can exchange it.
    error DelegatedVerifier(address verifier);
    /// @notice The model's data contract was not made where readers look for it: this chain finds the
    ///         addresses of contracts in another way, and no model can be registered on it.
    error DataMisplaced(uint256 modelId, address actual);
    /// @notice The successor must be a registered model with a greater id, and is set only once.
    error InvalidSuccessor(uint256 modelId, uint256 successor);

    /// @notice Register a model for good. Ids count from 1. On any but a local chain it reverts with
    ///         `UnsafeSetup` if one party could forge: of `Halo2Kzg`, unless every circuit's set-up is
    ///         one of the Perpetual Powers of Tau; of `Groth16`, unless there is a transcript.
    function register(Model calldata model) external returns (uint256 modelId);

    /// @notice Stop new requests for a model. Cannot be undone; open requests are not touched.
    function close(uint256 modelId) external;

    /// @notice Announce that `successor` replaces `modelId`. Once, by the publisher. Successors
    ///         have greater ids, so that whoever follows them comes to an end.
    function setSuccessor(uint256 modelId, uint256 successor) external;

    /// @notice The model as registered. Reverts with `UnknownModel`.
    function getModel(uint256 modelId) external view returns (Model memory);

    /// @notice The part of a model that a request of `rows` inputs needs. All zero for unknown ids;
    ///         reverts with `InvalidBatchSize` where no circuit is large enough or `rows` is 0.
    /// @return terms What it is checked and priced against, with the verifier gas of the smallest
    ///         circuit that has enough rows.
    /// @return size Rows of that circuit.
    /// @return token Currency of the fee; zero is ETH.
    function requestTerms(uint256 modelId, uint256 rows)
        external
        view
        returns (RequestTerms terms, uint256 size, address token);

    /// @notice Check the elements of an input, one row or several, against the ranges of their own, if
    ///         the model has an `inputChecker`; reverts as that does. The length is not checked.
    /// @return minimum Least integer that the model's circuits accept, whatever the element. Zero for
    ///         unknown ids.
    /// @return maximum Greatest such integer.
    function checkInput(uint256 modelId, bytes calldata input)
        external
        view
        returns (int256 minimum, int256 maximum);

    /// @notice The part of a model that a fulfilment of `rows` inputs needs. Reverts with
    ///         `UnknownModel`, and with `InvalidBatchSize` as above.
    /// @dev The oracle asks the model's data contract instead (`ModelData`).
    function proofTerms(uint256 modelId, uint256 rows) external view returns (ProofTerms memory);

    /// @notice Whether new requests are accepted. False for unknown ids.
    function isOpen(uint256 modelId) external view returns (bool);

    /// @notice Who could forge the model's answers, by its weakest circuit. Reverts with
    ///         `UnknownModel`.
    /// @dev Follows from what the publisher has registered. That a verifier is of the stated system and
    ///      was made with the set-up of that hash is shown by making it again (`oracle model audit`),
    ///      not by the registry.
    function trustOf(uint256 modelId) external view returns (SetupTrust memory);

    /// @notice Who registered the model. Zero for unknown ids.
    function publisherOf(uint256 modelId) external view returns (address);

    /// @notice The announced successor. Zero while there is none.
    function successorOf(uint256 modelId) external view returns (uint256);

    /// @notice How many models are registered; ids are 1 to this number.
    function count() external view returns (uint256);
}
