package io.hydraopt.demo

import io.hydraopt.FileSource
import io.hydraopt.Source
import java.io.File
import org.junit.Assert.assertEquals
import org.junit.Before
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** Where bundles come from. */
class ShelfTest {
    @get:Rule
    val folder = TemporaryFolder()

    private lateinit var own: File
    private lateinit var shelf: Shelf

    @Before
    fun make() {
        own = File(folder.root, "own")
        val assets = listOf(FileSource(Fixtures.bundle("zoo")))
        shelf = Shelf(own, File(folder.root, "pushed")) { assets }
        shelf.tidy()
    }

    private fun open(source: Source, picked: Boolean) =
        shelf.open(Foreign(source, picked)) { false }

    @Test
    fun bundlesAreListedFromEverywhere() {
        Fixtures.linked("slow", File(folder.root, "pushed"), "pushed one")
        val zoo = shelf.places().first().let { (it as Foreign).source }
        val picked = object : Source by zoo {
            override val name = "picked: one"
        }
        open(picked, picked = true)
        open(zoo, picked = false)
        assertEquals(listOf("zoo", "picked__one", "pushed one"), shelf.places().map { it.name })
    }

    @Test
    fun assetsAreCopiedOnceAndWhatIsPickedEveryTime() {
        val mark = File(own, "zoo/mark")
        val source = FileSource(Fixtures.bundle("zoo"))
        open(source, picked = false)
        mark.writeText("of this copy")
        open(source, picked = false)
        assertEquals(true, mark.exists())
        open(source, picked = true)
        assertEquals("what is picked may have changed", false, mark.exists())
        assertEquals(40, shelf.open(Stored(File(own, "zoo"), false)) { false }.tasks.size)
    }
}
