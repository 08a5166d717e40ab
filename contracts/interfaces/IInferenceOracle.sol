// SPDX-License-Identifier: MIT
pragma solidity ^0.8.19;

import {IAIOracle} from "./IAIOracle.sol";
import {IModelErrors} from "./IModelErrors.sol";
import {IModelRegistry} from "./IModelRegistry.sol";

/// @title Proved inference: requests, escrow, verified delivery
/// @notice A result reaches a caller only if a proof verified for that request, that model, that
///         input and that payee. Every request ends exactly once.
/// @dev Money is wei; a fee may be in the model's token instead. Reverts also with the
///      libraries' errors: `TensorCodec.InvalidOutput` and `ExactCall.NotEnoughGas` for a fulfilment.
interface IInferenceOracle is IAIOracle, IModelErrors {
    /// @notice The life of a request.
    enum Status {
        Unknown,
        Open,
        Fulfilled,
        Refunded
    }

    /// @notice Why an item of a batch was not delivered: it is not open, its preimage is not the
    ///         committed one (after a top-up, for example), its deadline has passed, or its input or
    ///         callback data are not the committed ones.
    enum Skipped {
        NotOpen,
        CommitmentMismatch,
        DeadlinePassed,
        PreimageMismatch
    }

    /// @notice Preimage of a request's commitment, `keccak256(abi.encode(request))`; only its hash
    ///         is stored.
    /// @param account Who made the request.
    /// @param modelId The model asked.
    /// @param callbackContract Receiver of the result, or zero.
    /// @param callbackGas Exact gas for the callback.
    /// @param refundTo Who is credited with unspent money.
    /// @param deadline Last second at which it may be fulfilled; refundable afterwards.
    /// @param fee Model fee in escrow, for all rows, in the model's currency.
    /// @param gasMoney Gas money in escrow (wei).
    /// @param gasUnits Gas that the gas money was quoted for; `gasMoney / gasUnits` is the highest
    ///        gas price that is paid.
    /// @param protocolBps Protocol's share of the fee in basis points, fixed at the request.
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
        uint64 gasUnits;
        uint16 protocolBps;
        bytes32 inputHash;
        bytes32 callbackDataHash;
    }

    /// @notice One request in `fulfillBatch`; the fields are as in `fulfill`.
    struct BatchItem {
        uint256 requestId;
        Request req;
        bytes input;
        bytes callbackData;
    }

    /// @notice A request that its account signed (EIP-712) and somebody else submits.
    /// @param account Who asks and pays, from its credit. An EOA or an ERC-1271 contract.
    /// @param modelId The model asked.
    /// @param inputHash keccak256 of the request bytes.
    /// @param callbackContract `account`, or zero for no callback.
    /// @param callbackGas Exact gas for the callback.
    /// @param callbackDataHash keccak256 of the callback data.
    /// @param refundTo Who is credited with unspent money.
    /// @param deadline Last second at which it may be fulfilled.
    /// @param maxCost Most wei to take for gas money and a fee in ETH; the tip comes on top. A fee
    ///        in a token is fixed by the model and comes out of the credit in that token.
    /// @param relayerTip Wei credited to whoever submits it.
    /// @param nonce Any number the account has not used; no order.
    /// @param validUntil Last second at which it may be submitted.
    struct SignedRequest {
        address account;
        uint256 modelId;
        bytes32 inputHash;
        address callbackContract;
        uint64 callbackGas;
        bytes32 callbackDataHash;
        address refundTo;
        uint64 deadline;
        uint96 maxCost;
        uint96 relayerTip;
        uint256 nonce;
        uint64 validUntil;
    }

    /// @notice Follows `AICallbackRequest` in the same transaction; together they are the preimage.
    event RequestOpened(
        uint256 indexed requestId,
        address refundTo,
        uint64 deadline,
        uint96 fee,
        uint96 gasMoney,
        uint64 gasUnits,
        uint16 protocolBps
    );
    /// @notice A request's gas money was raised; the preimage has the new amount from now on.
    event RequestToppedUp(uint256 indexed requestId, uint96 gasMoney);
    /// @notice A signed request was submitted; `relayer` was credited with `tip`.
    event RequestRelayed(
        uint256 indexed requestId,
        address indexed account,
        address indexed relayer,
        uint256 nonce,
        uint256 tip
    );
    /// @notice The account will not use this nonce; requests signed with it are void.
    event NonceCancelled(address indexed account, uint256 nonce);
    /// @notice A proved result was accepted. The payee got `feePaid` in the model's currency and
    ///         `gasPaid` wei; the rest of the gas money went to the refund address.
    event RequestFulfilled(
        uint256 indexed requestId,
        address indexed payee,
        uint256 feePaid,
        uint256 gasPaid,
        bool callbackSucceeded
    );
    /// @notice An item of a batch was left out.
    event RequestSkipped(uint256 indexed requestId, Skipped reason);
    /// @notice A callback that had failed was made again and succeeded.
    event CallbackRetried(uint256 indexed requestId);
    /// @notice The deadline passed unanswered and the escrow went back: `gasMoney` in wei, `fee` in
    ///         the model's currency.
    event RequestRefunded(
        uint256 indexed requestId, address indexed refundTo, uint256 fee, uint256 gasMoney
    );
    /// @notice `from` paid `amount` into the credit of `account`. `token` zero is ETH.
    event Deposited(
        address indexed token, address indexed account, address indexed from, uint256 amount
    );
    /// @notice `account` sent its credit to `to`. `token` zero is ETH.
    event Withdrawn(
        address indexed token, address indexed account, address indexed to, uint256 amount
    );
    /// @notice New requests are refused from now on, or accepted again.
    event PauseSet(bool paused);
    /// @notice Requests made from now on owe this share of the fee to the protocol.
    event ProtocolFeeSet(uint16 protocolBps);

    /// @notice The model does not exist or takes no new requests.
    error ModelNotOpen(uint256 modelId);
    /// @notice The owner has paused new requests.
    error RequestsPaused();
    /// @notice The input's length is not the model's: bytes with the packed codec, numbers with the
    ///         text codec.
    error InputLength(uint256 actual, uint256 expected);
    /// @notice A text input has more than 32 bytes for each number.
    error TextTooLong(uint256 actual, uint256 limit);
    /// @notice Inputs and outputs travel in calldata only.
    error UnsupportedDataAvailability();
    /// @notice The callback target must be the caller, or zero together with a zero gas limit.
    error InvalidCallback(address callbackContract, uint64 gasLimit);
    /// @notice The callback data are too long.
    error CallbackDataTooLong(uint256 actual, uint256 limit);
    /// @notice To answer the request would take more gas than one transaction may use.
    error TooMuchGas(uint256 gasUnits, uint256 limit);
    /// @notice The deadline is in the past or too far away.
    error InvalidDeadline(uint64 deadline);
    /// @notice `refundTo` is zero.
    error InvalidRefundAddress();
    /// @notice The money sent does not cover the fee and gas at the current base fee.
    error Underpaid(uint256 sent, uint256 required);
    /// @notice The token transfer brought less than it should have.
    error TokenShortfall(address token, uint256 received, uint256 expected);
    /// @notice A token, in the middle of a payment, makes another one or fulfils.
    error NestedTokenPayment();
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
    /// @notice The number of outputs is not that of the circuit (padding included).
    error OutputLength(uint256 actual, uint256 expected);
    /// @notice The verifier did not accept the proof for these requests, payee, inputs and outputs.
    error ProofRejected();
    /// @notice The verifier's code is not what was registered.
    error VerifierChanged(address verifier);
    /// @notice The items of a batch are for more than one model.
    error MixedModels(uint256 requestId);
    /// @notice No item of the batch could be delivered.
    error NothingToDeliver();
    /// @notice No callback of this request failed with these arguments.
    error NothingToRetry(uint256 requestId);
    /// @notice A retry must bring at least the gas that the request promised.
    error RetryGas(uint64 gasLimit, uint64 promised);
    /// @notice The callback failed again; nothing changed.
    error CallbackFailed(uint256 requestId);
    /// @notice A top-up must add at least an eighth of the present gas money (`minimumTopUp`), so
    ///         that raising it in front of a fulfilment, which must name the new amount, cannot go on
    ///         for long.
    error TopUpTooSmall(uint256 sent, uint256 required);
    /// @notice The signature is not the account's, for this request, chain and oracle.
    error InvalidSignature();
    /// @notice Too late to submit the signed request.
    error SignatureExpired(uint64 validUntil);
    /// @notice The account has used or cancelled this nonce.
    error NonceUsed(address account, uint256 nonce);
    /// @notice The signed request would cost more than its account allows.
    error CostAboveMaximum(uint256 cost, uint256 maximum);
    /// @notice The account's credit is too small. `token` zero is ETH.
    error InsufficientCredit(address token, uint256 credit, uint256 required);
    /// @notice There is no credit to withdraw, or the recipient is zero or the oracle.
    error NothingToWithdraw();
    /// @notice The recipient refused the money; nothing changed.
    error WithdrawalFailed(address to);
    /// @notice The deposit is for nobody, of nothing, or of ETH by way of `depositToken`.
    error InvalidDeposit();
    /// @notice The protocol's share is capped.
    error ProtocolFeeTooHigh(uint16 protocolBps, uint16 maximum);
    /// @notice `modelIDs` was asked beyond the last model.
    error IndexOutOfRange(uint256 index, uint256 count);

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

    /// @notice Submit a request that its account signed; it is paid from the account's credit.
    ///         Gas money is what `estimateFee` quotes beyond the fee, plus the gas of the callback
    ///         data. It can be less than was quoted before: the remembered base fee is brought up to
    ///         date first, so that a fall counts at once.
    /// @param signed What was signed.
    /// @param input The request bytes.
    /// @param callbackData The callback data.
    /// @param signature Of the account: 65 or 64 bytes, or whatever its ERC-1271 code accepts.
    function requestFor(
        SignedRequest calldata signed,
        bytes calldata input,
        bytes calldata callbackData,
        bytes calldata signature
    ) external returns (uint256 requestId);

    /// @notice Make requests that the caller signed with `nonce` void.
    function cancelNonce(uint256 nonce) external;

    /// @notice Add `msg.value` to the gas money of an open request. Anyone may; at least
    ///         `minimumTopUp` of the present gas money.
    /// @param requestId The request.
    /// @param req Its preimage.
    function topUp(uint256 requestId, Request calldata req) external payable;

    /// @notice Deliver a proved result. Anyone may send it; `payee`, whom the proof names, is paid.
    /// @dev A request of several rows is proved with the smallest circuit that has enough; rows
    ///      beyond the last repeat row 0.
    /// @param requestId The request.
    /// @param req Its preimage.
    /// @param input The request bytes.
    /// @param callbackData The callback data.
    /// @param payee The address in the proof's tag.
    /// @param outputs Proved outputs of all rows of the circuit as field elements.
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

    /// @notice Deliver several single-row requests of one model with one proof. Items that can no
    ///         longer be delivered are skipped; those that can share the gas of the rest.
    /// @dev Row i of the circuit is item i; rows beyond the last item repeat row 0. The tag is over
    ///      all request ids in order, the skipped ones included. A skipped item's input is not
    ///      checked against anything but must have a row's length.
    /// @param items The requests, in the order of the proof's rows. An id given twice is delivered
    ///        once.
    /// @param payee The address in the proof's tag.
    /// @param outputs Proved outputs of all rows of the circuit as field elements.
    /// @param proof The proof.
    /// @return delivered How many items were delivered.
    function fulfillBatch(
        BatchItem[] calldata items,
        address payee,
        uint256[] calldata outputs,
        bytes calldata proof
    ) external returns (uint256 delivered);

    /// @notice Make a failed callback again. Anyone may, at their own cost, until it succeeds.
    /// @param requestId A fulfilled request whose callback failed.
    /// @param callbackContract Its callback contract.
    /// @param callbackGas Its callback gas.
    /// @param refundTo Its refund address, which is that of ORA's requests made in the callback.
    /// @param gasLimit Exact gas for this attempt; at least `callbackGas`.
    /// @param output The delivered output (`AICallbackResult`).
    /// @param callbackData Its callback data.
    function retryCallback(
        uint256 requestId,
        address callbackContract,
        uint64 callbackGas,
        address refundTo,
        uint64 gasLimit,
        bytes calldata output,
        bytes calldata callbackData
    ) external;

    /// @notice Give the escrow of an expired request back to `refundTo`. Anyone may call.
    function refund(uint256 requestId, Request calldata req) external;

    /// @notice Add `msg.value` to the ETH credit of `account`: it pays for signed requests and can
    ///         be withdrawn.
    function deposit(address account) external payable;

    /// @notice Pull `amount` of `token` from the caller; what arrives is the credit of `account`.
    function depositToken(address token, address account, uint256 amount) external;

    /// @notice Send the caller's whole ETH credit to `to`.
    function withdrawTo(address to) external;

    /// @notice Send the caller's whole credit in `token` to `to`. Zero is ETH.
    function withdrawTo(address token, address to) external;

    /// @notice Refuse or accept new requests. Owner only; open requests are not touched.
    function setPaused(bool paused_) external;

    /// @notice Set the protocol's share of the fee for new requests. Owner only, and capped.
    function setProtocolFee(uint16 protocolBps_) external;

    /// @notice Send the protocol's share, collected in `token`, to `to`. Owner only.
    function withdrawProtocolFees(address token, address to) external;

    /// @notice What `account` can withdraw in `token`; zero is ETH. The protocol's share is the
    ///         credit of the oracle's own address.
    function creditOf(address token, address account) external view returns (uint256);

    /// @notice The least wei that `topUp` takes for a request with this gas money: an eighth of it,
    ///         rounded down, and at least 1.
    function minimumTopUp(uint256 gasMoney) external pure returns (uint256);

    /// @notice Where a request stands.
    function status(uint256 requestId) external view returns (Status);

    /// @notice keccak256 of the request's preimage while open; a small sentinel once ended.
    function commitments(uint256 requestId) external view returns (bytes32);

    /// @notice While a failed callback can be retried:
    ///         `keccak256(abi.encode(callbackContract, callbackGas, refundTo, keccak256(output),
    ///         keccak256(callbackData)))`; else zero.
    function undelivered(uint256 requestId) external view returns (bytes32);

    /// @notice How often `account` asked what it had asked before. A request's id is
    ///         `keccak256(abi.encode(chainId, oracle, repeat, account, modelId, inputHash))`, where
    ///         `repeat` is 0 for a new question and else this number, the request included.
    function repeats(address account) external view returns (uint256);

    /// @notice Whether `account` has used or cancelled `nonce` for signed requests.
    function isNonceUsed(address account, uint256 nonce) external view returns (bool);

    /// @notice The EIP-712 digest that `signed.account` signs. The domain is name
    ///         "InferenceOracle", version "1", the chain id and this contract.
    function hashOf(SignedRequest calldata signed) external view returns (bytes32);

    /// @notice The tag limbs that a proof by `modelId` for `requestIds`, in this order, naming
    ///         `payee` must carry.
    function tagOf(uint256 modelId, uint256[] calldata requestIds, address payee)
        external
        view
        returns (uint256[] memory);

    /// @notice Whether new requests are refused.
    function paused() external view returns (bool);

    /// @notice Protocol's share of the fee of new requests, in basis points.
    function protocolBps() external view returns (uint16);

    /// @notice A base fee (wei) that a recent request saw, within an eighth. Some clients run
    ///         `eth_call` with a base fee of zero; quotes then rest on this one.
    function lastBaseFee() external view returns (uint256);

    /// @notice Where the models are.
    function registry() external view returns (IModelRegistry);
}
