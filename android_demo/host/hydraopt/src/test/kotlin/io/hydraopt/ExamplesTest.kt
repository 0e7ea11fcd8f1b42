package io.hydraopt

import java.io.File
import java.nio.file.Files
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.BeforeClass
import org.junit.Test

/**
 * Examples of the pages, which count the lines between `example` and `end`: each is all that an app
 * needs.
 */
class ExamplesTest {
    private val shown = ArrayList<String>()
    private val filesDir = Files.createTempDirectory("files").toFile().apply { deleteOnExit() }

    @Before
    fun showNothing() = shown.clear()

    private fun show(text: String) {
        shown.add(text)
    }

    private fun opened(name: String, use: (TaskSession) -> Unit) =
        TaskSession.open(Fixtures.file(name)).use(use)

    @Test
    fun generate() {
        val link = File(filesDir, "bundle").apply { deleteOnExit() }
        Files.createSymbolicLink(link.toPath(), Fixtures.file("zoo").toPath())
        // example
        TaskSession.open(File(filesDir, "bundle")).use { session ->
            session.switchTo("money-de")
            session.generate("money 1234.50 EUR=") { piece -> show(piece) }
        }
        // end
        assertEquals("1.234,50\u00a0€", shown.joinToString(""))
    }

    @Test
    fun converse() = opened("conversations") { session ->
        session.switchTo("beta")
        val options = Options(maxNewTokens = 20)
        // example
        val chat = session.chat()
        chat.send("Hi", options) { piece -> show(piece) }
        chat.send("Why?", options) { piece -> show(piece) }
        // end
        val answers = chat.messages.filter { it.role == "assistant" }
        assertEquals(2, answers.size)
        assertEquals(answers.joinToString("") { it.content }, shown.joinToString(""))
    }

    @Test
    fun mix() = opened("portable") { session ->
        // example
        session.switchTo(mapOf("alpha" to 0.6f, "beta" to 1f))
        // end
        assertEquals(mapOf("alpha" to 0.6f, "beta" to 1f), session.mixture)
        assertTrue(session.generate("hello").ids.isNotEmpty())
    }

    @Test
    fun classify() = opened("classifiers") { session ->
        val moods = listOf("sad", "glad")
        val text = "Ada met Grace in London"
        // example
        session.switchTo("mood")
        val logits = session.run(text).values
        show(moods[logits.indices.maxBy { logits[it] }])
        // end
        assertTrue(shown.single() in moods)
    }

    @Test
    fun see() = opened("viewers") { session ->
        val picture = Picture(IntArray(80 * 60) { -it }.opaque(), 80, 60)
        // example
        session.switchTo("alpha")
        val features = session.run(picture).values
        // end
        assertTrue(features.isNotEmpty() && features.all(Float::isFinite))
    }

    private fun IntArray.opaque() = map { it or (255 shl 24) }.toIntArray()

    @Test
    fun update() {
        val directory = Fixtures.copied("tiny")
        val update = Fixtures.file("updates/later.zip")
        val publicKey = Fixtures.file("keys/mine.pub").readText()
        // example
        TaskBundle.open(directory).install(update, Ed25519(publicKey))
        // end
        assertTrue("later" in TaskBundle.open(directory).tasks)
        directory.deleteRecursively()
    }

    companion object {
        @BeforeClass
        @JvmStatic
        fun load() = Fixtures.loadRuntime()
    }
}
