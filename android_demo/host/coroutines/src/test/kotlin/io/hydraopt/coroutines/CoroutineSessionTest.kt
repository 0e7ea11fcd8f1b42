package io.hydraopt.coroutines

import io.hydraopt.End
import io.hydraopt.Options
import io.hydraopt.TaskException
import io.hydraopt.UsageException
import io.hydraopt.host.HostLibrary
import java.io.File
import java.util.Base64
import java.util.Collections
import java.util.concurrent.CountDownLatch
import kotlin.coroutines.CoroutineContext
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.flow.onEach
import kotlinx.coroutines.flow.take
import kotlinx.coroutines.flow.toList
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.BeforeClass
import org.junit.Test

/** Coroutines get what the session gives, and what they cancel ends. */
class CoroutineSessionTest {
    private class Asked(val task: String, val prompt: String, val answer: String)

    private fun bundle(name: String) = File(System.getProperty("fixtures"), name)

    /** Tasks, prompts and Python's answers. */
    private fun asked(name: String) = bundle("$name-answers.txt").readLines().map {
        val (task, prompt, answer) =
            it.split(' ').map { word -> String(Base64.getDecoder().decode(word)) }
        Asked(task, prompt, answer)
    }

    private fun with(name: String, body: suspend (CoroutineSession) -> Unit) = runBlocking {
        CoroutineSession.open(bundle(name)).use { body(it) }
    }

    /** With the slow bundle, whose answers take seconds. */
    private fun withSlow(body: suspend (CoroutineSession) -> Unit) = with("slow") {
        it.switchTo("first")
        body(it)
    }

    @Test
    fun answersAndStreamsArePythons() = with("zoo") { session ->
        for (case in asked("zoo").take(5)) {
            session.switchTo(case.task)
            assertEquals(case.task, session.session.task)
            assertEquals(case.answer, session.generate(case.prompt, LONG).text)
            assertEquals(case.answer, session.stream(case.prompt, LONG).toList().joinToString(""))
        }
    }

    @Test
    fun callsOfAllDispatchersRunOnOneThreadInTheirOrder() = with("zoo") { session ->
        val cases = asked("zoo").take(4)
        val threads = Collections.synchronizedSet(HashSet<Thread>())
        runBlocking {
            val answers = List(20) { number ->
                async(if (number % 2 == 0) Dispatchers.Default else Dispatchers.IO) {
                    session.call {
                        threads.add(Thread.currentThread())
                        switchTo(cases[number % 4].task)
                        generate(cases[number % 4].prompt, LONG).text
                    }
                }
            }.awaitAll()
            assertEquals(List(20) { cases[it % 4].answer }, answers)
        }
        assertEquals(1, threads.size)
        val order = Collections.synchronizedList(ArrayList<Int>())
        runBlocking {
            repeat(50) { number ->
                launch(start = CoroutineStart.UNDISPATCHED) { session.call { order.add(number) } }
            }
        }
        assertEquals(List(50) { it }, order)
    }

    @Test
    fun aCallThatIsDoneDoesNotWaitForTheNext() = with("zoo") { session ->
        runBlocking(Dispatchers.Default) {
            val begin = CountDownLatch(1)
            val end = CountDownLatch(1)
            val first = async(start = CoroutineStart.UNDISPATCHED) { session.call { begin.await() } }
            val next = async(start = CoroutineStart.UNDISPATCHED) { session.call { end.await() } }
            begin.countDown()
            try {
                withTimeout(60_000) { first.await() }
            } finally {
                end.countDown()
            }
            next.await()
        }
    }

    @Test
    fun aCancelledGenerationStopsAfterItsToken() = withSlow { session ->
        runBlocking(Dispatchers.Default) {
            val pieces = ArrayList<String>()
            val started = CountDownLatch(1)
            val answer = launch {
                session.stream("Once upon a time", LONG).collect {
                    pieces.add(it)
                    started.countDown()
                }
            }
            started.await()
            answer.cancelAndJoin()
            val position = session.session.position
            assertTrue("$position", position < CONTEXT / 2)
            assertTrue(asked("slow")[0].answer.startsWith(pieces.joinToString("")))
            assertEquals(position, session.call { this.position }) // it does not go on
        }
    }

    @Test
    fun aCancelledPromptStopsAfterItsPiece() = withSlow { session ->
        runBlocking(Dispatchers.Default) {
            val answer = launch { session.generate("x".repeat(PROMPT), Options(1)) }
            while (session.session.position == 0) delay(1)
            answer.cancelAndJoin()
            val position = session.session.position
            assertTrue("$position", position in 1 until PROMPT)
        }
    }

    @Test
    fun aCallThatIsCancelledBeforeItsTurnIsNotMade() = with("zoo") { session ->
        session.switchTo(session.session.tasks[0])
        runBlocking(Dispatchers.Default) {
            val release = CountDownLatch(1)
            val before = launch(start = CoroutineStart.UNDISPATCHED) {
                session.call { release.await() }
            }
            val waiting = launch(start = CoroutineStart.UNDISPATCHED) {
                session.switchTo(session.session.tasks[1])
            }
            waiting.cancel()
            release.countDown()
            before.join()
            waiting.join()
        }
        session.call { } // after all of them
        assertEquals(session.session.tasks[0], session.session.task)
    }

    @Test
    fun aCollectorThatHasEnoughEndsTheGeneration() = withSlow { session ->
        val whole = session.stream("Once upon a time", Options(4)).toList().joinToString("")
        val first = session.stream("Once upon a time", LONG).take(2).toList().joinToString("")
        assertTrue(first.isNotEmpty() && whole.startsWith(first))
        assertTrue("${session.session.position}", session.session.position < CONTEXT / 2)
    }

    @Test
    fun theSessionDoesNotWaitForASlowCollector() = with("zoo") { session ->
        val case = asked("zoo")[0]
        session.switchTo(case.task)
        val release = CountDownLatch(1)
        val slow = session.stream(case.prompt, LONG).onEach { release.await() }
        runBlocking(Dispatchers.Default) {
            val text = async(start = CoroutineStart.UNDISPATCHED) { slow.toList().joinToString("") }
            session.call { } // its turn is after the generation
            release.countDown()
            assertEquals(case.answer, text.await())
        }
    }

    @Test
    fun errorsAreThoseOfTheSession() = with("zoo") { session ->
        refuses<TaskException>("no task is current") { session.generate("x") }
        refuses<TaskException>("no task is current") { session.stream("x").first() }
        refuses<TaskException>("is of kind causal_lm, expected encoder") { session.run("x") }
        refuses<TaskException>("no task 'other'") { session.switchTo("other") }
        session.switchTo(session.session.tasks[0])
        assertTrue(session.generate("x").text.isNotEmpty())
        session.close()
        refuses<UsageException>("on a closed session; open it again") { session.generate("x") }
    }

    private inline fun <reified T : Exception> refuses(
        message: String,
        crossinline body: suspend () -> Unit
    ) {
        val error = assertThrows(T::class.java) { runBlocking { body() } }
        assertTrue(error.message, message in error.message!!)
    }

    @Test
    fun closingEndsAGenerationForItsCoroutine() = withSlow { session ->
        runBlocking(Dispatchers.Default) {
            val answer = async { session.generate("Once upon a time", LONG) }
            while (session.session.position == 0) delay(1)
            session.close()
            assertEquals(End.CANCELLED, answer.await().end)
        }
    }

    @Test
    fun aSessionThatOpensForNobodyIsClosed() {
        val program = bundle("slow/model.pte").canonicalPath
        fun isMapped() = File("/proc/self/maps").readLines().any { it.endsWith(program) }
        lateinit var opening: Job
        var cancelled = false
        val late = object : CoroutineDispatcher() { // ends the coroutine when it goes on
            override fun dispatch(context: CoroutineContext, block: Runnable) {
                cancelled = isMapped()
                if (cancelled) opening.cancel()
                block.run()
            }
        }
        runBlocking {
            opening = launch(late, CoroutineStart.LAZY) { CoroutineSession.open(bundle("slow")) }
            opening.join()
        }
        assertTrue("it was opened", cancelled)
        assertFalse("it was closed", isMapped())
    }

    @Test
    fun aChatKeepsWhatCameOfAnAnswer() = with("chat-0") { session ->
        session.switchTo("beta")
        val chat = session.chat()
        val answer = chat.send("Hi").text
        assertEquals(answer, chat.streamRetry().toList().joinToString(""))
        assertEquals(answer, chat.retry().text)
        val again = session.chat()
        assertEquals(answer, again.stream("Hi").toList().joinToString(""))
        assertEquals(listOf("Hi", answer), again.chat.messages.map { it.content })
        val cut = session.chat()
        val first = cut.stream("Hi").first()
        val kept = cut.chat.messages[1].content
        assertTrue(kept, kept.startsWith(first) && answer.startsWith(kept))
    }

    companion object {
        private const val CONTEXT = 384
        private const val PROMPT = 300
        private val LONG = Options(512)

        @JvmStatic
        @BeforeClass
        fun runtime() = HostLibrary.install()
    }
}
