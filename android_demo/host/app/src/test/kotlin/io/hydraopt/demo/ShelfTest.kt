package io.hydraopt.demo

import io.hydraopt.BundleException
import java.io.ByteArrayInputStream
import java.io.File
import java.io.IOException
import java.io.InputStream
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** Where bundles come from, and copies that fail. */
class ShelfTest {
    @get:Rule
    val folder = TemporaryFolder()

    private lateinit var own: File
    private lateinit var shelf: Shelf

    @Before
    fun make() {
        own = File(folder.root, "own")
        shelf = Shelf(own, File(folder.root, "pushed")) { listOf(Given(Fixtures.bundle("zoo"))) }
        shelf.tidy()
    }

    /** A file or directory behind a [Node]; [read] is asked before it is read. */
    private class Given(
        private val file: File,
        override val name: String = file.name,
        private val read: (File) -> Unit = {}
    ) : Node {
        override val children: List<Node>?
            get() = file.listFiles()?.map { Given(it, read = read) }

        override fun open(): InputStream {
            read(file)
            return file.inputStream()
        }
    }

    private class Made(override val name: String, override val children: List<Node>? = null) :
        Node {
        override fun open() = ByteArrayInputStream(ByteArray(3))
    }

    private fun open(node: Node, picked: Boolean = true, stopped: () -> Boolean = { false }) =
        shelf.open(Foreign(node, picked), stopped)

    private fun refused(node: Node): String {
        val error = assertThrows(BundleException::class.java) { open(node) }
        assertFalse('\n' in error.message!!)
        return error.message!!
    }

    private fun zoo(read: (File) -> Unit) = Given(Fixtures.bundle("zoo"), read = read)

    @Test
    fun bundlesAreListedFromEverywhere() {
        Fixtures.linked("slow", File(folder.root, "pushed"), "pushed one")
        open(Given(Fixtures.bundle("zoo"), "picked: one"))
        open(shelf.places().first().let { (it as Foreign).node }, picked = false)
        assertEquals(listOf("zoo", "picked__one", "pushed one"), shelf.places().map { it.name })
    }

    @Test
    fun assetsAreCopiedOnceAndAgainWhenTheCopyIsDamaged() {
        var reads = 0
        val node = zoo { if (it.name != "manifest.json") reads++ }
        assertEquals(File(own, "zoo"), open(node, picked = false).directory)
        val first = reads
        open(node, picked = false)
        assertEquals(first, reads)
        Fixtures.cut(File(own, "zoo/model.pte"))
        assertEquals(40, open(node, picked = false).tasks.size)
        assertEquals(2 * first, reads)
        open(node, picked = true)
        assertEquals("what is picked may have changed", 3 * first, reads)
    }

    @Test
    fun aStoppedCopyLeavesNothing() {
        var count = 0
        assertThrows(StoppedException::class.java) {
            open(zoo { count++ }) { count > 3 }
        }
        assertEquals(4, count)
        assertEquals(listOf<String>(), own.list()!!.toList())
    }

    @Test
    fun aCopyThatFailsKeepsTheOldOne() {
        open(zoo {})
        val message = refused(zoo { if (it.name == "shared.pack") throw IOException("disk full") })
        assertEquals("zoo cannot be copied (disk full); try again", message)
        val denied = refused(zoo { throw SecurityException("Permission Denial") })
        assertTrue(denied, "the app has no permission; pick the directory again" in denied)
        assertEquals(listOf("zoo"), own.list()!!.toList())
        assertEquals(40, shelf.open(Stored(File(own, "zoo"), false)) { false }.tasks.size)
    }

    @Test
    fun aDamagedBundleIsNotKept() {
        val damaged = Fixtures.copied("zoo", folder.newFolder("other"))
        Fixtures.flip(File(damaged, "model.pte"))
        val message = refused(Given(damaged))
        assertTrue(message, "model.pte is damaged or from another directory: SHA-256" in message)
        assertEquals(listOf<String>(), own.list()!!.toList())
    }

    @Test
    fun whatACopyThatWasKilledLeftIsDeleted() {
        Fixtures.copied("zoo", own, ".zoo")
        Fixtures.copied("zoo", own)
        shelf.tidy()
        assertEquals(listOf("zoo"), own.list()!!.toList())
    }

    @Test
    fun otherDirectoriesAreRefused() {
        val message = refused(Made("Downloads", listOf(Made("film.mp4"))))
        assertEquals(
            "Downloads has no manifest.json; expected a directory that `hydraopt export` wrote",
            message
        )
        val manifest = Made("manifest.json")
        for (name in listOf("../../x", "..", "")) {
            val outside = refused(Made("b", listOf(manifest, Made(name))))
            assertTrue(outside, "'$name' is not a file's name" in outside)
        }
        assertFalse(File(folder.root, "x").exists())
    }
}
