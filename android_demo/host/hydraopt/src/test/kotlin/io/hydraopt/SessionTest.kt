package io.hydraopt

import org.junit.After
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.BeforeClass
import org.junit.Test

/** Switches, generations and their ends. */
class SessionTest {
    private lateinit var session: TaskSession

    @Before
    fun open() {
        session = TaskSession.open(Fixtures.file("pieces"))
        session.switchTo("beta")
    }

    @After
    fun close() = session.close()

    @Test
    fun thousandsOfSwitchesTakeNoMoreMemory() {
        TaskSession.open(Fixtures.file("zoo")).use { zoo ->
            val times = ArrayList<Double>()
            var before = 0L
            for (round in 0 until SWITCHES) {
                times.add(zoo.switchTo(zoo.tasks[round % zoo.tasks.size]).millis)
                zoo.forward(intArrayOf(round % 256))
                if (round == SWITCHES / 5) before = Fixtures.resident()
            }
            val growth = Fixtures.resident() - before
            assertTrue("$growth bytes more", growth < 8_000_000)
            times.sort()
            val (p50, p95) = listOf(50, 95).map { times[SWITCHES * it / 100] }
            Fixtures.file("switches.json").writeText("""{"p50": $p50, "p95": $p95}""")
        }
    }

    @Test
    fun aSwitchForgetsTheCache() {
        session.forward(IntArray(20) { it })
        assertEquals(20, session.position)
        session.switchTo("alpha")
        assertEquals(0, session.position)
        val found = session.forward(intArrayOf(9, 8)).copyOf()
        session.reset()
        assertEquals(found.toList(), session.forward(intArrayOf(9, 8)).toList())
        assertEquals("alpha", session.task)
    }

    @Test
    fun aGenerationEndsAtItsLengthTheContextOrAnEndToken() {
        val short = session.generate("hello", Options(maxNewTokens = 3))
        assertEquals(End.MAX_NEW_TOKENS, short.end)
        assertEquals(3, short.ids.size)
        assertTrue(short.prefillTokensPerSecond > 0 && short.decodeTokensPerSecond > 0)
        val free = Options(maxNewTokens = 100, temperature = 50f) // an end token is a rare one
        val long = (1L..20L).map { session.generate("hello", free.copy(seed = it)) }
            .first { it.end != End.END_TOKEN }
        assertEquals(End.CONTEXT, long.end)
        val model = session.bundle.manifest.model as Model.CausalLm
        assertEquals(model.maxLength + 1, long.promptTokens + long.ids.size)
        TaskSession.open(Fixtures.file("zoo")).use { zoo ->
            zoo.switchTo("date-de")
            assertEquals(End.END_TOKEN, zoo.generate("date 2026-11-22=").end)
        }
    }

    @Test
    fun tokensPerSecondAreThoseThatACallerReceives() {
        var pieces = 0
        val answer = session.generate("hello", Options(8)) {
            pieces++
            Thread.sleep(20)
        }
        assertTrue("$pieces", pieces > 3)
        assertEquals(7, answer.decodeSteps)
        val between = 20 * (pieces - 2) // milliseconds between the first token and the last
        assertTrue("${answer.decodeTokensPerSecond}", answer.decodeTokensPerSecond < 7e3 / between)
        assertEquals(0.0, session.generate("hello", Options(1)).decodeTokensPerSecond, 0.0)
    }

    @Test
    fun equalSeedsGiveEqualTexts() {
        fun text(seed: Long): List<Int> {
            val options = Options(12, temperature = 1.5f, seed = seed)
            return session.generate("hello", options).ids
        }
        assertEquals(text(7), text(7))
        assertTrue((1L..5L).map(::text).distinct().size > 1)
        val greedy = session.generate("hello", Options(12))
        val one = session.generate("hello", Options(12, temperature = 1.5f, topK = 1))
        assertEquals(greedy.ids, one.ids)
        assertNotEquals(greedy.ids, text(7))
    }

    @Test
    fun aFailureOfTheCallerEndsTheGenerationOnly() {
        val error =
            runCatching { session.generate("hello") { throw IllegalStateException("mine") } }
        assertEquals("mine", error.exceptionOrNull()?.message)
        assertEquals(3, session.generate("hello", Options(3)).ids.size)
    }

    @Test
    fun aClosedSessionIsRefused() {
        session.close()
        session.close()
        refuses<UsageException>("switchTo was called on a closed session") {
            session.switchTo("alpha")
        }
        refuses<UsageException>("generate was called on a closed session") { session.generate("a") }
    }

    @Test
    fun wrongInputsAreOneClearLine() {
        refuses<TaskException>("no task 'delta'; there are: alpha, beta, gamma") {
            session.switchTo("delta")
        }
        refuses<TaskException>("the prompt is empty, expected at least one token") {
            session.forward(intArrayOf())
        }
        refuses<TaskException>("token id 261 is outside the vocabulary of 261") {
            session.forward(intArrayOf(261))
        }
        refuses<TaskException>("32 tokens, expected at most 31 in a prompt and 32 in all") {
            session.forward(IntArray(32))
        }
        session.forward(IntArray(31))
        session.forward(IntArray(1))
        refuses<TaskException>("33 tokens, expected at most") { session.forward(IntArray(1)) }
        assertEquals(32, session.position)
        refuses<TaskException>("expected at most 31 in a prompt") {
            session.generate("x".repeat(40))
        }
        TaskSession.open(Fixtures.file("portable")).use {
            assertNull(it.task)
            refuses<TaskException>("no task is current; switch to one of: alpha") {
                it.generate("a")
            }
            it.switchTo("beta")
            refuses<TaskException>("has no chat template, as its base model's tokenizer has none") {
                it.generate("a", Options(chat = true))
            }
        }
    }

    @Test
    fun idsAreGeneratedAsTheTextIs() {
        val answer = session.generate("hello", LONG)
        val received = ArrayList<Int>()
        val ids = session.generateIds(session.encode("hello"), LONG) { received.add(it) }
        assertEquals(answer.ids, ids.ids)
        assertEquals(answer.ids, received)
        assertEquals(answer.promptTokens, ids.promptTokens)
        assertEquals("", ids.text)
        val cancellation = Cancellation().apply { cancel() }
        val cut = session.generateIds(session.encode("hello"), LONG, cancellation)
        assertEquals(End.CANCELLED, cut.end)
    }

    @Test
    fun aTokenizerThatIsNotUnderstoodRefusesTextsOnly() {
        val ids = session.encode("hello")
        val wanted = session.generateIds(ids, LONG).ids
        val logits = session.run { reset(); forward(ids).toList() }
        for (case in Fixtures.records("refused/refused.json")) {
            val directory = Fixtures.copied("pieces")
            val file = Fixtures.file("refused/${case.string("file")}")
            Fixtures.replace(directory, "tokenizer.json", file.readBytes())
            TaskSession.open(directory).use {
                it.switchTo("beta")
                assertEquals(wanted, it.generateIds(ids, LONG).ids)
                it.reset()
                assertEquals(logits, it.forward(ids).toList())
                for (call in listOf({ it.encode("a") }, { it.generate("a") }, { it.decode(ids) })) {
                    refuses<BundleException>(case.string("message")) { call() }
                    refuses<BundleException>("or token ids to generateIds or forward") { call() }
                }
            }
            directory.deleteRecursively()
        }
    }

    /** One that an app wrote: letters are tokens. */
    private object Letters : Tokenizer {
        override fun encode(
            text: String,
            addSpecialTokens: Boolean,
            parseSpecialTokens: Boolean
        ) = IntArray(text.length) { text[it].code }

        override fun decode(ids: IntArray, skipSpecialTokens: Boolean) =
            ids.joinToString("") { "$it," }
    }

    @Test
    fun anAppMayPassATokenizerOfItsOwn() {
        TaskSession.open(Fixtures.file("pieces"), tokenizer = Letters).use {
            it.switchTo("beta")
            val ids = intArrayOf('a'.code, 'b'.code)
            assertEquals(ids.toList(), it.encode("ab").toList())
            val pieces = ArrayList<String>()
            val answer = it.generate("ab", LONG, onPiece = { piece -> pieces.add(piece) })
            assertEquals(it.generateIds(ids, LONG).ids, answer.ids)
            assertEquals(answer.ids.map { id -> "$id," }, pieces)
            assertEquals(pieces.joinToString(""), answer.text)
        }
    }

    @Test
    fun halfASurrogatePairIsRefusedAsInPython() {
        val chat = Options(chat = true)
        val lone = "😀b\ud83d!"
        for (call in listOf({ session.generate(lone) }, { session.generate(lone, chat) })) {
            refuses<TaskException>("the prompt is not UTF-8 at character 2; correct it") { call() }
        }
        refuses<TaskException>("not UTF-8 at character 1") { session.encode("a\ude00\ud83d") }
        assertEquals("😀", session.decode(session.encode("😀")))
    }

    @Test
    fun wrongOptionsAreOneClearLine() {
        refuses<UsageException>("temperature is -1.0, expected 0 (greedy)") {
            Options(temperature = -1f)
        }
        refuses<UsageException>("temperature is NaN") { Options(temperature = Float.NaN) }
        refuses<UsageException>("topP is 0.0, expected more than 0") { Options(topP = 0f) }
        refuses<UsageException>("topK is 0, expected at least 1") { Options(topK = 0) }
        refuses<UsageException>("maxNewTokens is 0, expected at least 1") {
            Options(maxNewTokens = 0)
        }
    }

    @Test
    fun otherKindsOfBundlesAreRefused() {
        refuses<BundleException>("swaps .ptd files") { TaskSession.open(Fixtures.file("data")) }
        TaskSession.open(Fixtures.file("encoder")).use {
            it.switchTo("alpha")
            refuses<TaskException>("is of kind encoder, expected causal_lm") { it.generate("a") }
        }
    }

    companion object {
        private const val SWITCHES = 5000
        private val LONG = Options(maxNewTokens = 20)

        @JvmStatic
        @BeforeClass
        fun runtime() = Fixtures.loadRuntime()
    }
}
