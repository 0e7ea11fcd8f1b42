package io.hydraopt.coroutines

import io.hydraopt.Chat
import io.hydraopt.Generation
import io.hydraopt.Options
import kotlinx.coroutines.flow.Flow

/**
 * A [Chat] for coroutines; [CoroutineSession.chat] begins one. An answer whose coroutine or
 * collector ends early is kept as far as it came.
 *
 * @property chat the chat itself, for properties such as [Chat.messages].
 */
class CoroutineChat internal constructor(val chat: Chat, private val thread: SessionThread) {
    /** As [Chat.send]. */
    suspend fun send(message: String, options: Options = Chat.OPTIONS): Generation =
        thread.call { chat.send(message, options, it) }

    /** The answer of [Chat.send], piece by piece, as of [CoroutineSession.stream]. */
    fun stream(message: String, options: Options = Chat.OPTIONS): Flow<String> =
        thread.pieces { cancellation, emit -> chat.send(message, options, cancellation, emit) }

    /** As [Chat.retry]. */
    suspend fun retry(options: Options = Chat.OPTIONS): Generation =
        thread.call { chat.retry(options, it) }

    /** The answer of [Chat.retry], piece by piece, as of [CoroutineSession.stream]. */
    fun streamRetry(options: Options = Chat.OPTIONS): Flow<String> =
        thread.pieces { cancellation, emit -> chat.retry(options, cancellation, emit) }
}
