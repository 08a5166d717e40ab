// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAIOracle} from "./IAIOracle.sol";
import {IModelRegistry} from "./IModelRegistry.sol";

/// @title Proved inference: requests, escrow, verified delivery
/// @notice A result reaches a caller only if a proof verified for that request, that model, that
///         input and that payee. Every request ends exactly once.
/// @dev Reverts also with the libraries' errors: `TensorCodec.InputRange` for a request,
///      `TensorCodec.InvalidOutput` and `ExactCall.NotEnoughGas` for a fulfilment.
interface IInferenceOracle is IAIOracle {
    /// @notice The life of a request.
    enum Status {
        Unknown,
        Open,
        Fulfilled,
        Refunded
    }

    /// @notice Preimage of a request's commitment; only its hash is stored.
    /// @param account Who made the request.
    /// @param modelId The model asked.
    /// @param callbackContract Receiver of the result, or zero.
    /// @param callbackGas Exact gas for the callback.
    /// @param refundTo Who is credited with unspent money.
    /// @param deadline Last second at which it may be fulfilled; refundable afterwards.
    /// @param fee Model fee in escrow (wei).
    /// @param gasMoney Gas money in escrow (wei).
    /// @param inputHash keccak256 of the request bytes.
    /// @param callbackDataHash keccak256 of the callback data.
    struct Request {
        address account;
        uint256 modelId;
        address callbackContract;
        uint64 callbackGas;
        address refundTo;
        uint64 deadline;
        uint96 fee;
        uint96 gasMoney;
        bytes32 inputHash;
        bytes32 callbackDataHash;
    }

    /// @notice Follows `AICallbackRequest` in the same transaction; together they are the preimage.
    event RequestOpened(
        uint256 indexed requestId, address refundTo, uint64 deadline, uint96 fee, uint96 gasMoney
    );
    /// @notice A proved result was accepted. `paid` went to the payee, `unspent` to `refundTo`.
    event RequestFulfilled(
        uint256 indexed requestId,
        address indexed payee,
        uint256 paid,
        uint256 unspent,
        bool callbackSucceeded
    );
    /// @notice The deadline passed unanswered and the escrow went back.
    event RequestRefunded(uint256 indexed requestId, address indexed refundTo, uint256 amount);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);

    /// @notice The model does not exist or takes no new requests.
    error ModelNotOpen(uint256 modelId);
    /// @notice The input's byte length is not the model's.
    error InputLength(uint256 actual, uint256 expected);
    /// @notice The callback target must be the caller, or zero together with a zero gas limit.
    error InvalidCallback(address callbackContract, uint64 gasLimit);
    /// @notice The deadline is in the past or too far away.
    error InvalidDeadline(uint64 deadline);
    /// @notice `refundTo` is zero.
    error InvalidRefundAddress();
    /// @notice The money sent does not cover the fee and gas at the current base fee.
    error Underpaid(uint256 sent, uint256 required);
    /// @notice The request is unknown or has ended.
    error NotOpen(uint256 requestId, Status status);
    /// @notice The given request is not the one committed to.
    error CommitmentMismatch(uint256 requestId);
    /// @notice Too late to fulfil.
    error DeadlinePassed(uint64 deadline);
    /// @notice Too early to refund.
    error DeadlineNotPassed(uint64 deadline);
    /// @notice The input or the callback data is not the one committed to.
    error PreimageMismatch(bytes32 field);
    /// @notice The number of outputs is not the model's.
    error OutputLength(uint256 actual, uint256 expected);
    /// @notice The verifier did not accept the proof for this request, payee, input and output.
    error ProofRejected();
    /// @notice The verifier's code is not what was registered.
    error VerifierChanged(address verifier);
    /// @notice There is no credit to withdraw, or the recipient is zero.
    error NothingToWithdraw();
    /// @notice The recipient refused the money; nothing changed.
    error WithdrawalFailed(address to);

    /// @notice `requestCallback` with an explicit refund address and deadline.
    /// @param refundTo Who is credited with unspent money and refunds.
    /// @param deadline Last second at which the request may be fulfilled.
    function request(
        uint256 modelId,
        bytes calldata input,
        address callbackContract,
        uint64 callbackGas,
        bytes calldata callbackData,
        address refundTo,
        uint64 deadline
    ) external payable returns (uint256 requestId);

    /// @notice Deliver a proved result. Anyone may send it; `payee`, whom the proof names, is paid.
    /// @param requestId The request.
    /// @param req Its preimage.
    /// @param input The request bytes.
    /// @param callbackData The callback data.
    /// @param payee The address in the proof's tag.
    /// @param outputs Proved outputs as field elements.
    /// @param proof The proof.
    function fulfill(
        uint256 requestId,
        Request calldata req,
        bytes calldata input,
        bytes calldata callbackData,
        address payee,
        uint256[] calldata outputs,
        bytes calldata proof
    ) external;

    /// @notice Give the escrow of an expired request back to `refundTo`. Anyone may call.
    function refund(uint256 requestId, Request calldata req) external;

    /// @notice Send the caller's whole credit to `to`.
    function withdrawTo(address to) external;

    /// @notice Wei that `withdrawTo` would pay `account`.
    function credits(address account) external view returns (uint256);

    /// @notice Where a request stands.
    function status(uint256 requestId) external view returns (Status);

    /// @notice keccak256 of the request's preimage while open; a small sentinel once ended.
    function commitments(uint256 requestId) external view returns (bytes32);

    /// @notice The tag limbs that a proof by `modelId` for `requestId` naming `payee` must carry.
    function tagOf(uint256 modelId, uint256 requestId, address payee)
        external
        view
        returns (uint256[] memory);

    /// @notice Where the models are.
    function registry() external view returns (IModelRegistry);
}
